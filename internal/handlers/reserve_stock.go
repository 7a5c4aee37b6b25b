package handlers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

// Stock keeps what is available and reserves it for orders.
type Stock struct {
	db  *database.DB
	now func() time.Time
}

// NewStock returns the stock kept in db.
func NewStock(db *database.DB) *Stock { return &Stock{db: db, now: time.Now} }

// OrderPlaced takes the whole order out of stock, or nothing and fails for good
// if something isn't there. An order cancelled meanwhile is left alone.
func (s *Stock) OrderPlaced(ctx context.Context, tx database.Tx, event envelope.Event[events.OrderPlaced]) error {
	order := event.Data
	// This locks the order: a cancellation comes entirely before or after it.
	marked, err := exec(ctx, tx, `UPDATE orders SET reserved_at = $1 WHERE id = $2 AND cancelled_at IS NULL`, s.now(), order.OrderID)
	if err != nil {
		return fmt.Errorf("reserve stock: mark order: %w", err)
	}
	if marked == 0 {
		return s.checkCancelled(ctx, tx, order.OrderID)
	}
	wanted := map[string]int64{} // an order may name a sku twice
	for _, item := range order.Items {
		wanted[item.SKU] += item.Quantity
	}
	var rows []any
	for _, sku := range slices.Sorted(maps.Keys(wanted)) { // sorted, so that two orders can't deadlock
		if err := s.take(ctx, tx, sku, wanted[sku]); err != nil {
			return fmt.Errorf("reserve stock: %w", err)
		}
		rows = append(rows, order.OrderID, sku, wanted[sku])
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO reservations (order_id, sku, quantity) VALUES `+database.Values(len(wanted), 3), rows...)
	if err != nil {
		return fmt.Errorf("reserve stock: insert reservations: %w", err)
	}
	return nil
}

// OrderCancelled gives back what was reserved for the order, if anything.
func (s *Stock) OrderCancelled(ctx context.Context, tx database.Tx, event envelope.Event[events.OrderCancelled]) error {
	reserved := map[string]int64{}
	rows, err := tx.QueryContext(ctx, `DELETE FROM reservations WHERE order_id = $1 RETURNING sku, quantity`, event.Data.OrderID)
	if err != nil {
		return fmt.Errorf("release stock: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var sku string
		var quantity int64
		if err := rows.Scan(&sku, &quantity); err != nil {
			return fmt.Errorf("release stock: %w", err)
		}
		reserved[sku] = quantity
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("release stock: %w", err)
	}
	for _, sku := range slices.Sorted(maps.Keys(reserved)) {
		if _, err := tx.ExecContext(ctx, `UPDATE stock SET available = available + $1 WHERE sku = $2`, reserved[sku], sku); err != nil {
			return fmt.Errorf("release stock: %w", err)
		}
	}
	return nil
}

// take lowers what is available, or returns a permanent error that says how
// much is missing.
func (s *Stock) take(ctx context.Context, tx database.Tx, sku string, quantity int64) error {
	taken, err := exec(ctx, tx, `UPDATE stock SET available = available - $1 WHERE sku = $2 AND available >= $1`, quantity, sku)
	if err != nil {
		return fmt.Errorf("take %s: %w", sku, err)
	}
	if taken == 1 {
		return nil
	}
	var available int64
	err = tx.QueryRowContext(ctx, `SELECT available FROM stock WHERE sku = $1`, sku).Scan(&available)
	if err != nil && !errors.Is(err, sql.ErrNoRows) { // no row: none was ever there
		return fmt.Errorf("look up %s: %w", sku, err)
	}
	return consumer.Permanent(fmt.Errorf("not enough stock of %s: %d wanted, %d available", sku, quantity, available))
}

// checkCancelled returns nil if the order exists, and is thus a cancelled one.
func (s *Stock) checkCancelled(ctx context.Context, tx database.Tx, id string) error {
	var exists bool
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) > 0 FROM orders WHERE id = $1`, id).Scan(&exists); err != nil {
		return fmt.Errorf("reserve stock: look up order: %w", err)
	}
	if !exists {
		return consumer.Permanent(fmt.Errorf("reserve stock: there is no order %s", id))
	}
	return nil
}
