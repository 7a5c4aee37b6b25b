package consumer_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/outbox"
)

// A handler that publishes what its consumer hasn't declared.
func (b *bundle) undeclared(name string) consumer.Consumer {
	return consumer.New(name, consumer.Publishes[ticked](), consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
		if err := apply(ctx, tx, name, e); err != nil {
			return err
		}
		return b.out.Publish(ctx, tx, tocked{e.Data.Key})
	}))
}

func TestUndeclaredIsRefused(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		b.start(b.undeclared("careless"), consumer.New("careful", consumer.Publishes[tocked](), consumer.OnEffect(func(ctx context.Context, e envelope.Event[ticked]) error {
			return b.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error { return b.out.Publish(ctx, tx, tocked{e.Data.Key}) })
		})))
		b.publish(ticked{Key: "a"}) // no handler is at work here: anything may be published
		watch := consumer.NewProducer("watch", consumer.Publishes[ticked]())
		require.EqualError(t, b.db.InTx(watch.Context(t.Context()), func(ctx context.Context, tx database.Tx) error {
			return b.out.Publish(ctx, tx, ticked{Key: "b"}, tocked{})
		}), `outbox: publish: envelope: undeclared event type: "watch" publishes clock.tocked: add consumer.Publishes[consumer_test.tocked]() to its declaration`)
		letter := b.deadLetters(1)[0]
		require.Equal(t, "careless", letter.Consumer)
		require.Equal(t, `outbox: publish: envelope: undeclared event type: "careless" publishes clock.tocked: `+
			`add consumer.Publishes[consumer_test.tocked]() to its declaration`, letter.Error)
		require.Equal(t, 1, letter.Attempts, "trying again can't help")
		b.eventually("the declared one", func() bool { return b.count(`SELECT COUNT(*) FROM queue_log`) == 2 })
		b.applied(0)
	})
}

// Where it is allowed, the event is published, and the log says so once for each
// consumer and type.
func TestUndeclaredIsLoggedOnce(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		var log bytes.Buffer
		b.out = outbox.NewPublisher(db, b.catalog, "tests", outbox.PublisherConfig{AllowUndeclared: true, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))})
		stop := b.start(b.undeclared("one"), b.undeclared("other"))
		for n := range 5 {
			b.publish(ticked{Key: "a", N: n})
		}
		b.applied(10)
		b.eventually("all forwarded", func() bool { return b.count(`SELECT COUNT(*) FROM queue_log`) == 5+10 })
		stop()
		const line = `level=WARN msg="published an event type that isn't declared" by=%s event_type=clock.tocked add=consumer.Publishes[consumer_test.tocked]()` + "\n"
		require.Contains(t, []string{sprintf(line+line, "one", "other"), sprintf(line+line, "other", "one")}, log.String())
	})
}
