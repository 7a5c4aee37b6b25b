package consumer_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/inbox"
	"example.com/millwright/internal/infra/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ticked is the event of these tests.
type ticked struct {
	Key string `json:"key"`
	N   int    `json:"n"`
}

// tocked is what some handlers publish.
type tocked struct {
	Key string `json:"key"`
}

func catalog(t testing.TB) *envelope.Catalog {
	t.Helper()
	c, err := envelope.NewCatalog(
		envelope.Type[ticked]{Name: "clock.ticked", Version: 1, Topic: "clock", Key: func(e ticked) string { return e.Key }, Owner: "tests"},
		envelope.Type[tocked]{Name: "clock.tocked", Version: 1, Topic: "clock", Key: func(e tocked) string { return e.Key }, Owner: "tests"},
	)
	require.NoError(t, err)
	return c
}

// bundle is a whole pipeline, from the outbox to the consumers.
type bundle struct {
	t       testing.TB
	db      *database.DB
	catalog *envelope.Catalog
	queue   *sqlqueue.Local
	out     *outbox.Publisher
	dead    *deadletter.Store
	logger  *slog.Logger
}

func setup(t testing.TB, db *database.DB) *bundle {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	c := catalog(t)
	_, err := db.Migrate(t.Context(), sqlqueue.Migrations())
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `CREATE TABLE applied (consumer text NOT NULL, event_id text NOT NULL, key text NOT NULL, n integer NOT NULL)`)
	require.NoError(t, err)
	queue := sqlqueue.NewLocal(db, sqlqueue.Config{CloseTimeout: 2 * time.Second, RetryPause: 10 * time.Millisecond}, logger)
	t.Cleanup(func() { require.NoError(t, queue.Close()) })
	require.NoError(t, queue.EnsureTopics(t.Context(), c.Topics()...))
	return &bundle{
		t: t, db: db, catalog: c, queue: queue, logger: logger,
		out:  outbox.NewPublisher(db, c, "tests", outbox.PublisherConfig{}),
		dead: deadletter.NewStore(db, deadletter.Config{Poll: 20 * time.Millisecond, CloseTimeout: 2 * time.Second}, logger),
	}
}

// start runs a forwarder and the consumers until the test ends or stop is
// called.
func (b *bundle) start(consumers ...consumer.Consumer) (stop func()) {
	b.t.Helper()
	router, err := consumer.NewRouter(consumers, b.catalog, b.queue, inbox.New(b.db, b.logger), b.dead,
		consumer.Config{Service: "tests", RetryPause: time.Millisecond, ShutdownTimeout: 2 * time.Second}, b.logger)
	require.NoError(b.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	forwarder := outbox.NewForwarder(b.db, b.queue, outbox.Config{Poll: 50 * time.Millisecond}, b.logger)
	ended := make(chan error, 2)
	go func() { ended <- forwarder.Run(ctx) }()
	go func() { ended <- router.Run(ctx) }()
	var once atomic.Bool
	stop = func() {
		if once.CompareAndSwap(false, true) {
			cancel()
			require.NoError(b.t, <-ended)
			require.NoError(b.t, <-ended)
		}
	}
	b.t.Cleanup(stop)
	<-router.Running()
	return stop
}

func (b *bundle) publish(payloads ...any) {
	b.t.Helper()
	require.NoError(b.t, b.db.InTx(b.t.Context(), func(ctx context.Context, tx database.Tx) error {
		return b.out.Publish(ctx, tx, payloads...)
	}))
}

// publishRaw puts a message on the topic as another producer would.
func (b *bundle) publishRaw(payload string) {
	b.t.Helper()
	m := message.NewMessage("raw-"+fmt.Sprint(time.Now().UnixNano()), []byte(payload))
	m.SetContext(b.t.Context())
	require.NoError(b.t, b.queue.Publisher().Publish("clock", m))
}

// apply is the handlers' work: a row that shows how often it was done.
func apply(ctx context.Context, tx database.Tx, name string, event envelope.Event[ticked]) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO applied (consumer, event_id, key, n) VALUES ($1, $2, $3, $4)`, name, event.ID, event.Data.Key, event.Data.N)
	return err
}

func (b *bundle) count(query string, args ...any) int {
	b.t.Helper()
	var n sql.NullInt64
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), query, args...).Scan(&n))
	return int(n.Int64)
}

// eventually waits for what must come to pass.
func (b *bundle) eventually(what string, ok func() bool) {
	b.t.Helper()
	require.Eventually(b.t, ok, 30*time.Second, 5*time.Millisecond, what)
}

func (b *bundle) applied(n int) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%d rows applied", n), func() bool { return b.count(`SELECT COUNT(*) FROM applied`) >= n })
	require.Equal(b.t, n, b.count(`SELECT COUNT(*) FROM applied`))
}

// deadLetters waits for n of them and returns them, the oldest first.
func (b *bundle) deadLetters(n int) []deadletter.Detail {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%d dead letters", n), func() bool {
		return b.count(`SELECT COUNT(*) FROM dead_letters WHERE state = 'dead'`) >= n
	})
	letters, _, err := b.dead.List(b.t.Context(), deadletter.Selection{State: deadletter.Dead}, 100)
	require.NoError(b.t, err)
	require.Len(b.t, letters, n)
	details := make([]deadletter.Detail, n)
	for i, l := range letters {
		details[n-1-i], err = b.dead.Get(b.t.Context(), l.ID)
		require.NoError(b.t, err)
	}
	return details
}

func postgresOrSkip(t testing.TB) *database.DB {
	t.Helper()
	return databasetest.Open(t, databasetest.PostgresURL(t))
}

func (b *bundle) lag(name string) int64 {
	b.t.Helper()
	lag, err := b.queue.Lag(b.t.Context(), "tests."+name, "clock")
	require.NoError(b.t, err)
	return lag
}

// order lists the numbers applied for a key, in the order of their application.
func (b *bundle) order(key string) []int {
	b.t.Helper()
	column := map[database.Dialect]string{database.Postgres: "ctid", database.SQLite: "rowid"}[b.db.Dialect()]
	rows, err := b.db.QueryContext(b.t.Context(), `SELECT n FROM applied WHERE key = $1 ORDER BY `+column, key)
	require.NoError(b.t, err)
	defer rows.Close()
	var order []int
	for rows.Next() {
		var n int
		require.NoError(b.t, rows.Scan(&n))
		order = append(order, n)
	}
	require.NoError(b.t, rows.Err())
	return order
}

var sprintf = fmt.Sprintf
