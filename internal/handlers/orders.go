package handlers

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/database"
)

// Bounds of an order. They keep every sum, and the report over millions of
// orders, far from where an int64 overflows.
const (
	maxItems    = 100
	maxQuantity = 1_000_000
	maxTotal    = 1_000_000_000_000 // minor units
)

// Orders takes, shows and cancels orders.
type Orders struct {
	db        *database.DB
	publisher Publisher
	now       func() time.Time
	newID     func() (uuid.UUID, error)
}

// NewOrders returns the orders kept in db.
func NewOrders(db *database.DB, publisher Publisher) *Orders {
	return &Orders{db: db, publisher: publisher, now: time.Now, newID: uuid.NewV7}
}

// order is a row of orders, and what the API shows of it. A time is null until
// it has happened.
type order struct {
	ID                 string       `json:"id"`
	Status             string       `json:"status"` // placed, reserved or cancelled
	Customer           string       `json:"customer"`
	Email              string       `json:"email"`
	Items              events.Items `json:"items"`
	Total              int64        `json:"total"` // minor units
	PlacedAt           time.Time    `json:"placed_at"`
	StockReservedAt    *time.Time   `json:"stock_reserved_at"`
	ConfirmationSentAt *time.Time   `json:"confirmation_sent_at"`
	CancelledAt        *time.Time   `json:"cancelled_at"`
}

// post answers POST /orders. The order and its event are written together, and
// with them the answer if the client gave an Idempotency-Key.
func (o *Orders) post(w http.ResponseWriter, r *http.Request) error {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	placed, err := parseOrder(body)
	if err != nil {
		return err
	}
	id, err := o.newID()
	if err != nil {
		return fmt.Errorf("make an order id: %w", err)
	}
	placed.ID, placed.Status, placed.PlacedAt = id.String(), "placed", o.time()
	response, err := json.Marshal(placed)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	var answer storedAnswer
	err = o.db.InTx(r.Context(), func(ctx context.Context, tx database.Tx) error {
		answer = storedAnswer{orderID: placed.ID, response: response}
		if key != "" {
			claimed, err := claimKey(ctx, tx, key, body, &answer, placed.PlacedAt)
			if err != nil || !claimed {
				return err
			}
		}
		return o.place(ctx, tx, placed)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/orders/"+answer.orderID)
	writeBody(w, http.StatusCreated, answer.response)
	return nil
}

// place writes the order and its event: together with the commit, one round trip
// to the database.
func (o *Orders) place(ctx context.Context, tx database.Tx, placed order) error {
	items, err := json.Marshal(placed.Items)
	if err != nil {
		return fmt.Errorf("encode items: %w", err)
	}
	_, err = database.Queued(tx).ExecContext(ctx, `INSERT INTO orders (id, customer, email, items, placed_at) VALUES ($1, $2, $3, $4, $5)`,
		placed.ID, placed.Customer, placed.Email, string(items), placed.PlacedAt)
	if err != nil {
		return fmt.Errorf("insert order: %w", err)
	}
	return o.publisher.Publish(ctx, tx, events.OrderPlaced{
		OrderID: placed.ID, Customer: placed.Customer, Email: placed.Email, Items: placed.Items, PlacedAt: placed.PlacedAt,
	})
}

// parseOrder reads a request for an order. An item may be free: its price is 0
// or more.
func parseOrder(body []byte) (order, error) {
	o, err := parseObject(body)
	if err != nil {
		return order{}, err
	}
	placed := order{Customer: o.text("customer", 200), Email: o.email("email")}
	for _, line := range o.objects("items", maxItems) {
		item := events.Item{
			SKU:       line.sku("sku"),
			Quantity:  line.integer("quantity", 1, maxQuantity),
			UnitPrice: line.integer("unit_price", 0, maxTotal),
		}
		line.done()
		// Within these bounds the product can't overflow, nor the sum of such lines.
		if total := item.Quantity * item.UnitPrice; total > maxTotal {
			line.fail("", "quantity times unit_price must be at most %d, but is %d", maxTotal, total)
		}
		placed.Items = append(placed.Items, item)
	}
	placed.Total = placed.Items.Total()
	o.done()
	if err := o.problem(); err != nil {
		return placed, err
	}
	if placed.Total > maxTotal {
		o.fail("items", "the order's total must be at most %d, but is %d", maxTotal, placed.Total)
	}
	return placed, o.problem()
}

// get answers GET /orders/{id}.
func (o *Orders) get(w http.ResponseWriter, r *http.Request) error {
	id, err := orderID(r)
	if err != nil {
		return err
	}
	found, err := scanOrder(o.db.QueryRowContext(r.Context(), `SELECT `+orderColumns+` FROM orders WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return errNoOrder
	}
	if err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	return writeJSON(w, http.StatusOK, found)
}

// cancel answers POST /orders/{id}/cancel.
func (o *Orders) cancel(w http.ResponseWriter, r *http.Request) error {
	id, err := orderID(r)
	if err != nil {
		return err
	}
	var cancelled order
	err = o.db.InTx(r.Context(), func(ctx context.Context, tx database.Tx) error {
		now := o.time()
		cancelled, err = scanOrder(tx.QueryRowContext(ctx,
			`UPDATE orders SET cancelled_at = $1 WHERE id = $2 AND cancelled_at IS NULL RETURNING `+orderColumns, now, id))
		if errors.Is(err, sql.ErrNoRows) {
			return o.notCancellable(ctx, tx, id)
		}
		if err != nil {
			return fmt.Errorf("cancel order: %w", err)
		}
		return o.publisher.Publish(ctx, tx, events.OrderCancelled{
			OrderID: id, Items: cancelled.Items, PlacedAt: cancelled.PlacedAt, CancelledAt: now,
		})
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, cancelled)
}

func (o *Orders) notCancellable(ctx context.Context, tx database.Tx, id string) error {
	var exists bool
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) > 0 FROM orders WHERE id = $1`, id).Scan(&exists); err != nil {
		return fmt.Errorf("look up order: %w", err)
	}
	if exists {
		return errCancelled
	}
	return errNoOrder
}

// time is now, as precise as a database stores it.
func (o *Orders) time() time.Time { return o.now().UTC().Truncate(time.Microsecond) }

func orderID(r *http.Request) (string, error) {
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		return "", errNoOrder
	}
	return id.String(), nil
}

const orderColumns = `id, customer, email, items, placed_at, reserved_at, confirmed_at, cancelled_at`

func scanOrder(row *sql.Row) (order, error) {
	var o order
	var items string
	var placed, reserved, confirmed, cancelled database.Time
	if err := row.Scan(&o.ID, &o.Customer, &o.Email, &items, &placed, &reserved, &confirmed, &cancelled); err != nil {
		return o, err
	}
	if err := json.Unmarshal([]byte(items), &o.Items); err != nil {
		return o, fmt.Errorf("decode items: %w", err)
	}
	o.Total, o.PlacedAt = o.Items.Total(), placed.Time
	o.StockReservedAt, o.ConfirmationSentAt, o.CancelledAt = reserved.Pointer(), confirmed.Pointer(), cancelled.Pointer()
	switch {
	case o.CancelledAt != nil:
		o.Status = "cancelled"
	case o.StockReservedAt != nil:
		o.Status = "reserved"
	default:
		o.Status = "placed"
	}
	return o, nil
}
