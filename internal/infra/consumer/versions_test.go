package consumer_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/outbox"
)

// measured is version 2 of what older builds know as measuredV1.
type measured struct {
	Key  string `json:"key"`
	N    int    `json:"n"`
	Unit string `json:"unit"`
}

type measuredV1 struct {
	Key string `json:"key"`
	N   int    `json:"n"`
}

func (old measuredV1) upcast() (measured, error) {
	return measured{Key: old.Key, N: old.N, Unit: "unknown"}, nil
}

func (m measured) downcast() (measuredV1, error) { return measuredV1{Key: m.Key, N: m.N}, nil }

func oldBuild(t *testing.T) *envelope.Catalog {
	t.Helper()
	c, err := envelope.NewCatalog(envelope.Type[measuredV1]{
		Name: "clock.measured", Version: 1, Topic: "clock", Key: func(e measuredV1) string { return e.Key }, Owner: "tests",
	})
	require.NoError(t, err)
	return c
}

func newBuild(t *testing.T) *envelope.Catalog {
	t.Helper()
	c, err := envelope.NewCatalog(envelope.Type[measured]{
		Name: "clock.measured", Version: 2, Topic: "clock", Key: func(e measured) string { return e.Key }, Owner: "tests",
		Upcasters:   []envelope.Upcaster{envelope.Upcast(1, measuredV1.upcast)},
		Downcasters: []envelope.Downcaster{envelope.Downcast(1, measured.downcast)},
	})
	require.NoError(t, err)
	return c
}

func insert(ctx context.Context, tx database.Tx, name string, header envelope.Header, unit string, n int) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO applied (consumer, event_id, key, n) VALUES ($1, $2, $3, $4)`, name, header.ID, unit, n)
	return err
}

func oldConsumer(name string) consumer.Consumer {
	return consumer.New(name, consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[measuredV1]) error {
		return insert(ctx, tx, name, e.Header, "old build", e.Data.N)
	}))
}

func newConsumer(name string) consumer.Consumer {
	return consumer.New(name, consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[measured]) error {
		return insert(ctx, tx, name, e.Header, e.Data.Unit, e.Data.N)
	}))
}

// of returns the bundle as a build with another catalog has it.
func (b *bundle) of(catalog *envelope.Catalog) *bundle {
	other := *b
	other.catalog, other.out = catalog, outbox.NewPublisher(b.db, catalog, "tests", outbox.PublisherConfig{})
	return &other
}

// Version 2 is published next to version 1 while consumers of an old build still
// run: each consumer handles each event once, in the best version it can read.
func TestTwoVersionsSideBySide(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		newer := b.of(newBuild(t))
		b.of(oldBuild(t)).start(oldConsumer("old"))
		newer.start(newConsumer("new"))
		for n := range 10 {
			newer.publish(measured{Key: "a", N: n, Unit: "mm"}, measured{Key: "b", N: n, Unit: "mm"})
		}
		b.applied(40)
		require.Equal(t, 20, b.count(`SELECT COUNT(*) FROM applied WHERE consumer = 'old' AND key = 'old build'`))
		require.Equal(t, 20, b.count(`SELECT COUNT(*) FROM applied WHERE consumer = 'new' AND key = 'mm'`))
		b.eventually("all messages are answered", func() bool {
			return b.count(`SELECT SUM(p.next_offset - c.next_offset) FROM queue_cursors c JOIN queue_partitions p USING (topic, partition)`) == 0
		})
		require.Equal(t, 40, b.count(`SELECT COUNT(*) FROM applied`))
		require.Zero(t, b.count(`SELECT COUNT(*) FROM dead_letters`))
		require.Equal(t, 40, b.count(`SELECT COUNT(*) FROM queue_log`), "each in two versions")
		require.Equal(t, 20, b.count(`SELECT COUNT(*) FROM processed WHERE consumer = 'old'`))
	})
}

// One consumer of which an old and a new build take turns, as in a deploy: what
// the old one has left to the older version is not lost, and what the new one has
// handled is not handled again.
func TestBuildsTakeTurns(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		older, newer := b.of(oldBuild(t)), b.of(newBuild(t))
		const events = 20
		for n := range events {
			newer.publish(measured{Key: "a", N: n, Unit: "mm"})
			stop := older.start(oldConsumer("turns"))
			if n%2 == 0 {
				b.applied(n + 1)
			}
			stop()
			stop = newer.start(newConsumer("turns"))
			b.applied(n + 1)
			stop()
		}
		require.Equal(t, events, b.count(`SELECT COUNT(DISTINCT event_id) FROM applied`))
		require.GreaterOrEqual(t, b.count(`SELECT COUNT(*) FROM applied WHERE key = 'old build'`), events/2)
		require.Zero(t, b.count(`SELECT COUNT(*) FROM dead_letters`))
	})
}
