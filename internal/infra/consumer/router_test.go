package consumer_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/envelope"
)

func TestEffectAndEventsCommitTogether(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		var calls atomic.Int32
		var caused atomic.Value
		b.start(
			consumer.New("ticker", consumer.Publishes[tocked](), consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
				if err := apply(ctx, tx, "ticker", e); err != nil {
					return err
				}
				if err := b.out.Publish(ctx, tx, tocked{e.Data.Key}); err != nil {
					return err
				}
				if calls.Add(1) <= 2 {
					return errors.New("not yet") // rolls back the row and the event
				}
				return nil
			})),
			consumer.New("tocker", consumer.On(func(_ context.Context, _ database.Tx, e envelope.Event[tocked]) error {
				caused.Store(e.Header)
				return nil
			})),
		)
		b.publish(ticked{Key: "a", N: 1})
		b.applied(1)
		b.eventually("the caused event", func() bool { return caused.Load() != nil })
		require.EqualValues(t, 3, calls.Load())
		require.Equal(t, 2, b.count(`SELECT COUNT(*) FROM queue_log`), "one cause, one effect")

		var cause string
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT message_id FROM queue_log WHERE topic = 'clock' ORDER BY created_at LIMIT 1`).Scan(&cause))
		effect := caused.Load().(envelope.Header)
		require.Equal(t, cause, effect.CausationID)
		require.Equal(t, cause, effect.CorrelationID)
		require.Equal(t, 1, effect.Depth)
		require.Equal(t, "tests", effect.Source)
	})
}

func TestDuplicateIsDropped(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		var effects atomic.Int32
		b.start(
			consumer.New("work", consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
				return apply(ctx, tx, "work", e)
			})),
			consumer.New("effect", consumer.OnEffect(func(context.Context, envelope.Event[ticked]) error {
				effects.Add(1)
				return nil
			})),
		)
		const event = `{"specversion":"1.0","id":"1","source":"%s","type":"clock.ticked","schemaversion":1,"data":{"key":"a","n":1}}`
		for range 5 {
			b.publishRaw(sprintf(event, "here"))
		}
		b.publishRaw(sprintf(event, "elsewhere")) // an id is unique to its source only
		b.eventually("all delivered", func() bool { return b.lag("work")+b.lag("effect") == 0 })
		b.applied(2)
		require.EqualValues(t, 2, effects.Load())
		require.Equal(t, 4, b.count(`SELECT COUNT(*) FROM processed`))
	})
}

func TestFailuresBecomeDeadLettersAndOthersGoOn(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		b.start(
			consumer.New("picky", consumer.Retry(2), consumer.Timeout(50*time.Millisecond),
				consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
					if err := apply(ctx, tx, "picky", e); err != nil {
						return err
					}
					switch e.Data.Key {
					case "error":
						return errors.Join(errors.New("outer"), errors.New("inner"))
					case "permanent":
						return consumer.Permanent(errors.New("no use"))
					case "panic":
						panic("on the streets")
					case "hang":
						<-release // ignores its context
					}
					return nil
				})),
			consumer.New("other", consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
				return apply(ctx, tx, "other", e)
			})),
		)
		for _, key := range []string{"error", "permanent", "panic", "hang", "fine"} {
			b.publish(ticked{Key: key})
		}
		letters := map[string]deadletter.Detail{}
		for _, l := range b.deadLetters(4) {
			require.Equal(t, "picky", l.Consumer)
			require.Equal(t, "clock", l.Topic)
			letters[l.PartitionKey] = l
		}
		b.applied(1 + 5)

		require.Equal(t, 3, letters["error"].Attempts)
		require.Equal(t, "outer\ninner", letters["error"].Error)
		require.Len(t, letters["error"].Chain, 3)
		require.Equal(t, 1, letters["permanent"].Attempts, "a permanent error is not tried again")
		require.Equal(t, "no use", letters["permanent"].Error)
		require.Equal(t, "panic: on the streets", letters["panic"].Error)
		require.Contains(t, letters["panic"].Stack, "router_test.go")
		require.Equal(t, "handler timed out after 50ms, and it ignores its context", letters["hang"].Error)
	})
}

func TestUnreadableEventsBecomeDeadLettersByteForByte(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		b.start(consumer.New("reader", consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
			return apply(ctx, tx, "reader", e)
		})))
		const head = `{"specversion":"1.0","id":"%s","source":"s","type":"clock.ticked",`
		unreadable := []struct{ payload, want string }{
			{"\x00\xff not JSON", "malformed envelope: not a JSON object"},
			{sprintf(head, "newer") + `"schemaversion":7,"data":{}}`, "the event has version 7, this build knows 1"},
			{sprintf(head, "fields") + `"schemaversion":1,"data":{"key":"a","n":1,"hue":"red"}}`, `has no field "hue"`},
			{`{"specversion":"1.0","source":"s","type":"clock.ticked","schemaversion":1}`, `missing attribute: "id" is required`},
		}
		for _, u := range unreadable {
			b.publishRaw(u.payload)
		}
		b.publishRaw(sprintf(`{"specversion":"1.0","id":"x","source":"s","type":"somebody.elses","schemaversion":9,"data":{"any":"thing"}}`))
		b.publish(ticked{Key: "fine"})
		letters := b.deadLetters(len(unreadable))
		b.applied(1)
		b.eventually("all delivered", func() bool { return b.lag("reader") == 0 })
		for i, u := range unreadable { // one key, so in order
			require.Equal(t, u.payload, string(letters[i].Payload))
			require.Contains(t, letters[i].Error, u.want)
			require.Equal(t, 1, letters[i].Attempts)
		}
	})
}

func TestReplayGoesToTheFailedConsumerAlone(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		var broken atomic.Bool
		broken.Store(true)
		var others atomic.Int32
		b.start(
			consumer.New("fragile", consumer.Retry(0), consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
				if broken.Load() {
					return errors.New("broken")
				}
				return apply(ctx, tx, "fragile", e)
			})),
			consumer.New("other", consumer.OnEffect(func(context.Context, envelope.Event[ticked]) error {
				others.Add(1)
				return nil
			})),
		)
		by := deadletter.Operator{Name: "ada", Reason: "fixed"}
		for n := range 3 {
			b.publish(ticked{Key: "k", N: n})
		}
		b.deadLetters(3)

		// Not fixed yet: dead again, the same rows.
		replayed, err := b.dead.Replay(t.Context(), deadletter.Selection{Consumer: "fragile"}, by)
		require.NoError(t, err)
		require.EqualValues(t, 3, replayed)
		b.eventually("dead again", func() bool {
			return b.count(`SELECT COUNT(*) FROM dead_letters WHERE state = 'dead' AND replays = 1 AND attempts = 2`) == 3
		})

		broken.Store(false)
		_, err = b.dead.Replay(t.Context(), deadletter.Selection{All: true}, by)
		require.NoError(t, err)
		b.eventually("resolved", func() bool { return b.count(`SELECT COUNT(*) FROM dead_letters WHERE state = 'resolved'`) == 3 })
		b.applied(3)
		require.EqualValues(t, 3, others.Load())
		require.Equal(t, []int{0, 1, 2}, b.order("k"))
		require.Equal(t, 6, b.count(`SELECT SUM(affected) FROM dead_letter_actions WHERE actor = 'ada' AND reason = 'fixed' AND action = 'replay'`))
	})
}

// If not even the dead letter can be written, the broker keeps the event.
func TestStoreDownLosesNothing(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		var calls atomic.Int32
		_, err := db.ExecContext(t.Context(), `ALTER TABLE dead_letters RENAME TO elsewhere`)
		require.NoError(t, err)
		b.start(consumer.New("failing", consumer.Retry(0), consumer.On(func(context.Context, database.Tx, envelope.Event[ticked]) error {
			calls.Add(1)
			return errors.New("always")
		})))
		b.publish(ticked{Key: "a"})
		b.eventually("delivered again", func() bool { return calls.Load() >= 3 })
		require.EqualValues(t, 1, b.lag("failing"))

		_, err = db.ExecContext(t.Context(), `ALTER TABLE elsewhere RENAME TO dead_letters`)
		require.NoError(t, err)
		require.Equal(t, "always", b.deadLetters(1)[0].Error)
		b.eventually("acked", func() bool { return b.lag("failing") == 0 })
	})
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		started, finish := make(chan struct{}), make(chan struct{})
		stop := b.start(consumer.New("slow", consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
			close(started)
			<-finish
			return apply(ctx, tx, "slow", e)
		})))
		b.publish(ticked{Key: "a"})
		<-started
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		close(finish)
		<-stopped
		b.applied(1)
		require.Zero(t, b.lag("slow"), "acked before the stop")
	})
}

// What outlives the time for a stop is interrupted, is no dead letter, and is
// handled by the next run.
func TestStopInterruptsWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		started := make(chan struct{})
		stop := b.start(consumer.New("stuck", consumer.On(func(ctx context.Context, _ database.Tx, _ envelope.Event[ticked]) error {
			close(started)
			<-ctx.Done()
			return ctx.Err()
		})))
		b.publish(ticked{Key: "a"})
		<-started
		stop()
		require.Zero(t, b.count(`SELECT COUNT(*) FROM dead_letters`))
		b.start(consumer.New("stuck", consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
			return apply(ctx, tx, "stuck", e)
		})))
		b.applied(1)
	})
}

// A loop of handlers ends by itself, visibly.
func TestLoopBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		b.start(consumer.New("echo", consumer.Publishes[ticked](), consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
			return b.out.Publish(ctx, tx, e.Data)
		})))
		b.publish(ticked{Key: "a"})
		letter := b.deadLetters(1)[0]
		require.Contains(t, letter.Error, "number 17 in a chain of events, at most 16: do two handlers answer each other?")
		require.Equal(t, 1, letter.Attempts)
		require.Contains(t, string(letter.Payload), `"depth":16,`)
		require.Equal(t, 17, b.count(`SELECT COUNT(*) FROM queue_log`), "depths 0 to 16")
	})
}
