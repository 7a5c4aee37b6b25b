package apptest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
)

// Ledger is where the tables are.
type Ledger struct {
	DB *database.DB
	// Lag counts the messages that a broker outside of DB has yet to deliver. Nil
	// for a queue in DB.
	Lag func(ctx context.Context) (int64, error)
}

var consumers = []string{"reserve-stock", "send-confirmation", "sales-report"}

// expected is how many events each consumer has to handle, and how many there
// are.
func expected(orders []Order) (byConsumer map[string]int64, events int64) {
	placed, cancelled := int64(len(orders)), int64(0)
	for _, o := range orders {
		if o.Cancelled {
			cancelled++
		}
	}
	return map[string]int64{
		"reserve-stock": placed + cancelled, "sales-report": placed + cancelled, "send-confirmation": placed,
	}, placed + cancelled
}

// RequireSums waits until everything is quiet and then compares all tables with
// each other and with the orders: each was reserved once, reported once, and no
// event is missing, waiting, set aside or dead.
func (l Ledger) RequireSums(t *testing.T, orders []Order) {
	t.Helper()
	handled, events := expected(orders)
	Eventually(t, func() string { return l.waiting(t, handled) })

	require.Equal(t, handled, l.pairs(t, `SELECT consumer, COUNT(*) FROM processed GROUP BY consumer`), "processed events by consumer")
	sent := `SELECT message_id FROM queue_log`
	if l.Lag != nil {
		sent = `SELECT event_id FROM outbox_sent`
		// One attempt may fail just before the broker answers again.
		require.Zero(t, l.Number(t, `SELECT COUNT(*) FROM outbox_sent WHERE attempts > 1`), "events that an outage cost attempts")
	}
	require.Zero(t, l.Number(t, `SELECT COUNT(*) FROM processed WHERE event_id NOT IN (`+sent+`)`), "processed events that nobody published")
	require.Equal(t, events, l.Number(t, `SELECT COUNT(*) FROM (`+sent+`) AS sent`), "events published")
	require.Zero(t, l.Number(t, `SELECT COUNT(*) FROM outbox`), "events not sent")
	require.Empty(t, l.list(t, `SELECT consumer || ': ' || error FROM dead_letters`), "dead letters")
	require.Equal(t, int64(len(orders)), l.Number(t, `SELECT COUNT(*) FROM orders`), "orders")
	require.Zero(t, l.Number(t, `SELECT COUNT(*) FROM orders WHERE confirmed_at IS NULL`), "orders not confirmed")
	l.requireReservations(t, orders)
	l.requireSales(t, orders)
}

// WaitForWork waits until each consumer has handled events that it had not when
// called.
func (l Ledger) WaitForWork(t *testing.T) {
	t.Helper()
	const query = `SELECT consumer, COUNT(*) FROM processed GROUP BY consumer`
	before := l.pairs(t, query)
	Eventually(t, func() string {
		now := l.pairs(t, query)
		for _, consumer := range consumers {
			if now[consumer] <= before[consumer] {
				return consumer + " handles no events"
			}
		}
		return ""
	})
}

// waiting says what is not done yet, or nothing.
func (l Ledger) waiting(t *testing.T, handled map[string]int64) string {
	var waiting []string
	if n := l.Number(t, `SELECT COUNT(*) FROM outbox`); n > 0 {
		waiting = append(waiting, fmt.Sprintf("%d events in the outbox", n))
	}
	processed := l.pairs(t, `SELECT consumer, COUNT(*) FROM processed GROUP BY consumer`)
	for consumer, want := range handled {
		if got := processed[consumer]; got < want {
			waiting = append(waiting, fmt.Sprintf("%s has handled %d of %d events", consumer, got, want))
		}
	}
	if n := l.behind(t); n > 0 {
		waiting = append(waiting, fmt.Sprintf("%d messages to deliver", n))
	}
	if waiting != nil {
		waiting = append(waiting, l.list(t, `SELECT consumer || ' gave up: ' || error FROM dead_letters LIMIT 3`)...)
	}
	return strings.Join(waiting, "; ")
}

func (l Ledger) behind(t *testing.T) int64 {
	if l.Lag == nil {
		return l.Number(t, `
			SELECT CAST(COALESCE(SUM(p.next_offset - c.next_offset), 0) AS bigint) FROM queue_cursors c
			JOIN queue_partitions p ON p.topic = c.topic AND p.partition = c.partition`)
	}
	n, err := l.Lag(t.Context())
	require.NoError(t, err)
	return n
}

// requireReservations compares the reservations row by row, and with the stock.
func (l Ledger) requireReservations(t *testing.T, orders []Order) {
	t.Helper()
	want, taken := map[string]int64{}, map[string]int64{}
	for _, o := range orders {
		if o.Cancelled {
			continue
		}
		for _, item := range o.Items {
			want[o.ID+" "+item.SKU] += item.Quantity
			taken[item.SKU] += item.Quantity
		}
	}
	requireSame(t, want, l.pairs(t, `SELECT order_id || ' ' || sku, quantity FROM reservations`), "reservations")
	for _, sku := range skus {
		require.Equal(t, stockEach-taken[sku], l.Number(t, `SELECT available FROM stock WHERE sku = $1`, sku), "stock of %s", sku)
	}
}

// requireSales compares the report's journal: one row for an order, and one
// that takes it back for a cancellation.
func (l Ledger) requireSales(t *testing.T, orders []Order) {
	t.Helper()
	rows, units, revenue := map[string]int64{}, map[string]int64{}, map[string]int64{}
	for _, o := range orders {
		rows[o.ID], units[o.ID], revenue[o.ID] = 1, 0, 0
		if o.Cancelled {
			rows[o.ID] = 2
			continue
		}
		for _, item := range o.Items {
			units[o.ID] += item.Quantity
			revenue[o.ID] += item.Quantity * item.UnitPrice
		}
	}
	requireSame(t, rows, l.pairs(t, `SELECT order_id, COUNT(*) FROM sales GROUP BY order_id`), "rows of the report by order")
	requireSame(t, units, l.pairs(t, `SELECT order_id, CAST(SUM(units) AS bigint) FROM sales GROUP BY order_id`), "units by order")
	requireSame(t, revenue, l.pairs(t, `SELECT order_id, CAST(SUM(revenue) AS bigint) FROM sales GROUP BY order_id`), "revenue by order")
}

// requireSame is require.Equal for thousands of rows: it shows a few that differ.
func requireSame(t *testing.T, want, got map[string]int64, what string) {
	t.Helper()
	keys := maps.Clone(want)
	maps.Copy(keys, got)
	var differences []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		w, wanted := want[key]
		g, found := got[key]
		if w != g || wanted != found {
			differences = append(differences, fmt.Sprintf("%s: want %d (%t), got %d (%t)", key, w, wanted, g, found))
		}
	}
	require.Empty(t, differences[:min(len(differences), 10)], "%s: %d of %d differ", what, len(differences), len(keys))
}

// Number runs a query for one number.
func (l Ledger) Number(t *testing.T, query string, args ...any) (n int64) {
	t.Helper()
	require.NoError(t, l.DB.QueryRowContext(t.Context(), query, args...).Scan(&n), query)
	return n
}

func (l Ledger) pairs(t *testing.T, query string) map[string]int64 {
	t.Helper()
	rows, err := l.DB.QueryContext(t.Context(), query)
	require.NoError(t, err, query)
	defer rows.Close()
	pairs := map[string]int64{}
	for rows.Next() {
		var key string
		var n int64
		require.NoError(t, rows.Scan(&key, &n), query)
		pairs[key] = n
	}
	require.NoError(t, rows.Err(), query)
	return pairs
}

func (l Ledger) list(t *testing.T, query string) (list []string) {
	t.Helper()
	rows, err := l.DB.QueryContext(t.Context(), query)
	require.NoError(t, err, query)
	defer rows.Close()
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s), query)
		list = append(list, s)
	}
	require.NoError(t, rows.Err(), query)
	return list
}
