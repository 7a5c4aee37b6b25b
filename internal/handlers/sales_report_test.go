package handlers

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/testkit"
)

// enter lets the handler enter an order, and its cancellation if wanted.
func (b *bundle) enter(t *testing.T, placedAt time.Time, cancelled bool, items ...events.Item) {
	t.Helper()
	require.NoError(t, b.db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
		if cancelled { // in the wrong order, which must not matter
			if err := b.report.OrderCancelled(ctx, tx, testkit.Event(events.OrderCancelled{OrderID: "o1", Items: items, PlacedAt: placedAt, CancelledAt: placedAt.Add(72 * time.Hour)})); err != nil {
				return err
			}
		}
		return b.report.OrderPlaced(ctx, tx, testkit.Event(events.OrderPlaced{OrderID: "o1", Items: items, PlacedAt: placedAt}))
	}))
}

func (b *bundle) requireReport(t *testing.T, want string) {
	t.Helper()
	w := b.do("GET", "/reports/sales", "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, want, w.Body.String())
}

func TestSalesReport(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		b.requireReport(t, `{"days":[]}`)
		tea, cup := events.Item{SKU: "tea", Quantity: 2, UnitPrice: 450}, events.Item{SKU: "cup", Quantity: 1, UnitPrice: 100}
		day := time.Date(2026, 3, 1, 23, 30, 0, 0, time.UTC)
		b.enter(t, day, false, tea, cup)
		b.enter(t, day, true, tea)
		b.enter(t, day.Add(time.Hour), false, cup)
		b.enter(t, day.In(time.FixedZone("", -5*3600)), false, cup) // the day is UTC's, not the customer's
		b.requireReport(t, `{"days":[
			{"day":"2026-03-02","orders":1,"units":1,"revenue":100},
			{"day":"2026-03-01","orders":2,"units":4,"revenue":1100}]}`)
	})
}

// Version 1 of orders.placed could leave the time out: the event's own counts.
func TestSalesReportOfAnOrderWithoutATime(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		event := testkit.Event(events.OrderPlaced{OrderID: "o1", Items: events.Items{{SKU: "tea", Quantity: 1, UnitPrice: 1}}})
		event.Time = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		require.NoError(t, b.db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error { return b.report.OrderPlaced(ctx, tx, event) }))
		b.requireReport(t, `{"days":[{"day":"2026-03-01","orders":1,"units":1,"revenue":1}]}`)
	})
}

func TestSalesReportShowsADoubleEntry(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		for range 2 { // what the inbox prevents
			b.enter(t, day, false, events.Item{SKU: "tea", Quantity: 1, UnitPrice: 1})
		}
		b.requireReport(t, `{"days":[{"day":"2026-03-01","orders":2,"units":2,"revenue":2}]}`)
	})
}

func TestSalesReportIsBounded(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		for i := range reportDays + 5 {
			_, err := b.db.ExecContext(t.Context(), `INSERT INTO sales (order_id, day, orders, units, revenue) VALUES ('o', $1, 1, 1, $2)`,
				time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC).Format(time.DateOnly), maxTotal)
			require.NoError(t, err)
		}
		body := b.do("GET", "/reports/sales", "").Body.String()
		require.Contains(t, body, fmt.Sprintf(`{"days":[{"day":%q`, time.Date(2026, 1, reportDays+5, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)))
		require.NotContains(t, body, "2026-01-05")
		require.Contains(t, body, "2026-01-06")
	})
}
