package handlers

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

// SalesReport sums up what was sold each day.
type SalesReport struct{ db *database.DB }

// NewSalesReport returns the report kept in db.
func NewSalesReport(db *database.DB) *SalesReport { return &SalesReport{db: db} }

// OrderPlaced counts the order on the day it was placed.
func (r *SalesReport) OrderPlaced(ctx context.Context, tx database.Tx, event envelope.Event[events.OrderPlaced]) error {
	placedAt := event.Data.PlacedAt
	if placedAt.IsZero() { // version 1 could leave it out
		placedAt = event.Time
	}
	return r.enter(ctx, tx, event.Data.OrderID, placedAt, event.Data.Items, 1)
}

// OrderCancelled takes the order out again, from the day it was placed. It
// doesn't matter which of the two events comes first.
func (r *SalesReport) OrderCancelled(ctx context.Context, tx database.Tx, event envelope.Event[events.OrderCancelled]) error {
	return r.enter(ctx, tx, event.Data.OrderID, event.Data.PlacedAt, event.Data.Items, -1)
}

func (r *SalesReport) enter(ctx context.Context, tx database.Tx, orderID string, placedAt time.Time, items events.Items, sign int64) error {
	_, err := database.Queued(tx).ExecContext(ctx, `INSERT INTO sales (order_id, day, orders, units, revenue) VALUES ($1, $2, $3, $4, $5)`,
		orderID, placedAt.UTC().Format(time.DateOnly), sign, sign*items.Units(), sign*items.Total())
	if err != nil {
		return fmt.Errorf("sales report: %w", err)
	}
	return nil
}

// salesDay is one day of the report.
type salesDay struct {
	Day     string `json:"day"` // UTC, YYYY-MM-DD
	Orders  int64  `json:"orders"`
	Units   int64  `json:"units"`
	Revenue int64  `json:"revenue"` // minor units
}

// reportDays is how many days with sales the report shows.
const reportDays = 100

// get answers GET /reports/sales: the latest days, newest first.
func (r *SalesReport) get(w http.ResponseWriter, req *http.Request) error {
	rows, err := r.db.QueryContext(req.Context(), `
		SELECT day, CAST(SUM(orders) AS bigint), CAST(SUM(units) AS bigint), CAST(SUM(revenue) AS bigint)
		FROM sales GROUP BY day ORDER BY day DESC LIMIT $1`, reportDays)
	if err != nil {
		return fmt.Errorf("read sales: %w", err)
	}
	defer rows.Close()
	days := []salesDay{}
	for rows.Next() {
		var d salesDay
		if err := rows.Scan(&d.Day, &d.Orders, &d.Units, &d.Revenue); err != nil {
			return fmt.Errorf("read sales: %w", err)
		}
		days = append(days, d)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read sales: %w", err)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"days": days})
}
