package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/testkit"
)

// bundle is the package put together on a database of its own.
type bundle struct {
	db        *database.DB
	publisher Publisher
	orders    *Orders
	stock     *Stock
	report    *SalesReport
	api       *API
	log       *buffer
}

// each runs f with a new bundle on every kind of database.
func each(t *testing.T, f func(t *testing.T, b *bundle)) {
	t.Helper()
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		_, err := db.Migrate(t.Context(), Migrations())
		require.NoError(t, err)
		catalog, err := events.Catalog()
		require.NoError(t, err)
		f(t, newBundle(db, testkit.Publisher(t, db, catalog, events.Schemas())))
	})
}

func newBundle(db *database.DB, publisher Publisher) *bundle {
	b := &bundle{db: db, publisher: publisher, orders: NewOrders(db, publisher), stock: NewStock(db), report: NewSalesReport(db), log: &buffer{}}
	b.api = NewAPI(b.orders, b.stock, b.report, slog.New(slog.NewTextHandler(b.log, nil)))
	return b
}

// do sends a request; headers come in pairs.
func (b *bundle) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.api.ServeHTTP(w, r)
	return w
}

// place orders the items and returns the order's event.
func (b *bundle) place(t *testing.T, items ...events.Item) events.OrderPlaced {
	t.Helper()
	encoded, err := json.Marshal(items)
	require.NoError(t, err)
	w := b.do("POST", "/orders", fmt.Sprintf(`{"customer":"Ada","email":"ada@example.com","items":%s}`, encoded))
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	return lastEvent[events.OrderPlaced](t, b.db)
}

// cancel cancels the order and returns the event.
func (b *bundle) cancel(t *testing.T, id string) events.OrderCancelled {
	t.Helper()
	w := b.do("POST", "/orders/"+id+"/cancel", "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	return lastEvent[events.OrderCancelled](t, b.db)
}

func (b *bundle) setStock(t *testing.T, sku string, quantity int64) {
	t.Helper()
	w := b.do("PUT", "/stock/"+sku, fmt.Sprintf(`{"quantity":%d}`, quantity))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
}

// reserve lets the handler work in a transaction, as the inbox does.
func (b *bundle) reserve(ctx context.Context, order events.OrderPlaced) error {
	return b.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		return b.stock.OrderPlaced(ctx, tx, testkit.Event(order))
	})
}

func (b *bundle) release(ctx context.Context, order events.OrderCancelled) error {
	return b.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		return b.stock.OrderCancelled(ctx, tx, testkit.Event(order))
	})
}

// count runs a query for one number.
func (b *bundle) count(t *testing.T, query string, args ...any) (n int64) {
	t.Helper()
	require.NoError(t, b.db.QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

// requireNothingWritten checks that no table has a row.
func (b *bundle) requireNothingWritten(t *testing.T) {
	t.Helper()
	for _, table := range []string{"orders", "idempotency_keys", "stock", "outbox"} {
		require.Zero(t, b.count(t, `SELECT COUNT(*) FROM `+table), table)
	}
}

func lastEvent[T any](t *testing.T, db *database.DB) (payload T) {
	t.Helper()
	published := testkit.Published(t, db)
	require.NotEmpty(t, published)
	require.NoError(t, json.Unmarshal(published[len(published)-1].Data, &payload))
	return payload
}

func requireProblem(t *testing.T, w *httptest.ResponseRecorder, status int, detail string) problem {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	var p problem
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	require.Equal(t, "about:blank", p.Type)
	require.Equal(t, http.StatusText(status), p.Title)
	require.Equal(t, status, p.Status)
	require.Equal(t, detail, p.Detail)
	return p
}

// buffer is a log that may be written to concurrently.
type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}
