package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/outbox"
)

func numbers(n int) (payloads []any, want []string) {
	for i := range n {
		payloads = append(payloads, opened{Account: "a", N: i})
		want = append(want, fmt.Sprintf(`{"account":"a","n":%d}`, i))
	}
	return payloads, want
}

func TestOutageCostsNoAttempts(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		payloads, want := numbers(50)
		b.publish(payloads...)
		b.broker.set(true, nil)
		forwarder := b.forwarder(outbox.Config{Attempts: 2})
		for range 5 {
			_, err := forwarder.Forward(t.Context())
			require.ErrorContains(t, err, "the broker does not answer: connection refused")
		}
		status := b.status()
		require.EqualValues(t, 50, status.Unsent)
		require.Zero(t, status.Retrying)
		require.Empty(t, status.SetAside)
		require.WithinDuration(t, time.Now(), *status.OldestUnsent, time.Minute)

		b.broker.set(false, nil)
		require.Equal(t, 50, forwardAll(t, forwarder))
		require.Equal(t, want, b.broker.of("accounts/a"))
		require.Zero(t, b.status().Unsent)
	})
}

// What the broker confirmed before it went away is marked all the same.
func TestOutageInTheMiddle(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		b.publish(opened{Account: "a"}, opened{Account: "b"})
		b.broker.set(false, refuseKey("b", errAway))
		forwarder := outbox.NewForwarder(db, pingFails{b.broker}, outbox.Config{}, b.logger)
		n, err := forwarder.Forward(t.Context())
		require.NoError(t, err)
		require.NotZero(t, n)
		require.EqualValues(t, 1, b.status().Unsent)
		_, err = forwarder.Forward(t.Context())
		require.ErrorContains(t, err, "does not answer")
		require.Zero(t, b.status().Retrying)
		require.Len(t, b.broker.of("accounts/a"), 1, "not sent twice")
	})
}

type pingFails struct{ *fakeBroker }

func (pingFails) Ping(context.Context) error { return errAway }

func TestFailingRowHoldsBackItsKeyOnlyAndIsSetAside(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		b.publish(opened{Account: "bad", N: 1}, opened{Account: "bad", N: 2}, opened{Account: "good", N: 1})
		b.broker.set(false, refuseKey("bad", errors.New("flaky")))
		forwarder := b.forwarder(outbox.Config{Attempts: 3, RetryPause: time.Millisecond})
		eventually(t, "set aside", func() bool {
			forwardAll(t, forwarder)
			return len(b.status().SetAside) == 1
		})
		require.Len(t, b.broker.of("accounts/good"), 1)
		require.Empty(t, b.broker.of("accounts/bad"))
		status := b.status()
		require.EqualValues(t, 2, status.Unsent)
		aside := status.SetAside[0]
		require.Equal(t, 3, aside.Attempts)
		require.Equal(t, "flaky", aside.Error)
		require.Equal(t, "accounts.opened", aside.EventType)
		require.Equal(t, "bad", aside.PartitionKey)

		// Later events of the key wait, those of others don't.
		b.publish(opened{Account: "bad", N: 3}, opened{Account: "good", N: 2})
		b.broker.set(false, nil)
		forwardAll(t, forwarder)
		require.Empty(t, b.broker.of("accounts/bad"))
		require.Len(t, b.broker.of("accounts/good"), 2)

		_, err := b.store.Resend(t.Context(), aside.ID, 4711)
		require.ErrorIs(t, err, outbox.ErrNotSetAside)
		require.EqualError(t, err, "outbox: resend: event 4711: not set aside: see `service outbox status`")
		require.Len(t, b.status().SetAside, 1, "nothing was resent")
		n, err := b.store.Resend(t.Context(), aside.ID)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		forwardAll(t, forwarder)
		require.Equal(t, []string{`{"account":"bad","n":1}`, `{"account":"bad","n":2}`, `{"account":"bad","n":3}`}, b.broker.of("accounts/bad"))
		require.Zero(t, b.status().Unsent)
	})
}

func TestRejectedRowIsSetAsideAtOnce(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		b.publish(opened{Account: "huge"}, opened{Account: "small"})
		b.broker.set(false, refuseKey("huge", fmt.Errorf("%w: 9 bytes, at most 8", broker.ErrRejected)))
		forwardAll(t, b.forwarder(outbox.Config{}))
		status := b.status()
		require.Len(t, status.SetAside, 1)
		require.Equal(t, "the broker rejects the message: 9 bytes, at most 8", status.SetAside[0].Error)
		require.Equal(t, 1, status.SetAside[0].Attempts)

		b.broker.set(false, nil)
		n, err := b.store.Resend(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		forwardAll(t, b.forwarder(outbox.Config{}))
		require.Len(t, b.broker.of("accounts/huge"), 1)
	})
}

// A crash between the broker's confirmation and the mark: sent again, not lost.
func TestUnmarkedRowIsSentAgain(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		b.publish(opened{Account: "a"})
		_, err := db.ExecContext(t.Context(), `ALTER TABLE outbox RENAME COLUMN created_at TO gone`)
		require.NoError(t, err)
		_, err = b.forwarder(outbox.Config{}).Forward(t.Context())
		require.Error(t, err)
		_, err = db.ExecContext(t.Context(), `ALTER TABLE outbox RENAME COLUMN gone TO created_at`)
		require.NoError(t, err)
		require.Equal(t, 1, forwardAll(t, b.forwarder(outbox.Config{})))
		require.NotEmpty(t, b.broker.of("accounts/a"))
	})
}

func TestUnknownTopicInTheQueueIsSetAside(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		queue := localQueue(t, db, "parcels")
		b.publish(opened{Account: "a"}, shipped{Parcel: "p"})
		forwardAll(t, outbox.NewForwarder(db, queue, outbox.Config{}, b.logger))
		status := b.status()
		require.EqualValues(t, 1, status.Unsent)
		require.Contains(t, status.SetAside[0].Error, `topic "accounts" does not exist`)
	})
}

// Several forwarders share the work: each event goes out once, in order per key.
func TestForwardersShareTheWork(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		queue := localQueue(t, db, "accounts")
		ctx, stop := context.WithCancel(t.Context())
		var running errgroup.Group
		for range 3 {
			forwarder := outbox.NewForwarder(db, queue, outbox.Config{Batch: 20, Poll: 20 * time.Millisecond}, b.logger)
			running.Go(func() error { return forwarder.Run(ctx) })
		}
		var producers errgroup.Group
		for account := range 10 {
			producers.Go(func() error {
				for n := range 30 {
					err := db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
						return b.out.Publish(ctx, tx, opened{Account: fmt.Sprint("k", account), N: n})
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		require.NoError(t, producers.Wait())
		eventually(t, "all sent", func() bool { return b.status().Unsent == 0 })
		stop()
		require.NoError(t, running.Wait())

		var total, disordered int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM queue_log`).Scan(&total))
		require.Equal(t, 300, total, "each event once")
		require.NoError(t, db.QueryRowContext(t.Context(), `
			SELECT COUNT(*) FROM (SELECT o.id, LAG(o.id) OVER (PARTITION BY o.partition_key ORDER BY l."offset") AS before
				FROM queue_log l JOIN outbox o ON o.event_id = l.message_id) AS pairs WHERE before > id`).Scan(&disordered))
		require.Zero(t, disordered)
	})
}

func TestRunIsWokenByACommit(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.forwarder(outbox.Config{Poll: time.Hour}).Run(ctx) }()
		// The first look at the table is over when this one is sent.
		b.publish(opened{Account: "first"})
		eventually(t, "sent", func() bool { return b.status().Unsent == 0 })
		b.publish(opened{Account: "second"})
		eventually(t, "sent without a poll", func() bool { return b.status().Unsent == 0 })
		stop()
		require.NoError(t, <-ended)
	})
}

func TestPrune(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		payloads, _ := numbers(5)
		b.publish(payloads...)
		prune := func(before time.Time, limit int) (n int64) {
			require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) (err error) {
				n, err = outbox.Prune(ctx, tx, before, limit)
				return err
			}))
			return n
		}
		require.Zero(t, prune(time.Now().Add(time.Hour), 10), "unsent events stay")
		forwardAll(t, b.forwarder(outbox.Config{}))
		require.Zero(t, prune(time.Now().Add(-time.Hour), 10))
		require.EqualValues(t, 3, prune(time.Now().Add(time.Hour), 3))
		require.EqualValues(t, 2, prune(time.Now().Add(time.Hour), 3))
	})
}

func localQueue(t testing.TB, db *database.DB, topics ...string) *sqlqueue.Local {
	t.Helper()
	_, err := db.Migrate(t.Context(), sqlqueue.Migrations())
	require.NoError(t, err)
	queue := sqlqueue.NewLocal(db, sqlqueue.Config{}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { require.NoError(t, queue.Close()) })
	require.NoError(t, queue.EnsureTopics(t.Context(), topics...))
	return queue
}

// A pass reads about as much as it moves, whatever the backlog and whatever the
// planner believes about it.
func TestPassReadsWhatItMoves(t *testing.T) {
	t.Parallel()
	const backlog, batch = 20_000, 500
	for _, analyze := range []string{"when empty", "when full", "in between"} {
		t.Run(analyze, func(t *testing.T) {
			t.Parallel()
			url := databasetest.PostgresURL(t)
			watch := databasetest.Open(t, url, sqlqueue.Migrations())
			learn := func(when string) {
				if when == analyze {
					_, err := watch.ExecContext(t.Context(), `VACUUM ANALYZE outbox`)
					require.NoError(t, err)
				}
			}
			db, err := database.Open(t.Context(), database.Config{URL: url, MaxConns: 1})
			require.NoError(t, err)
			forwarder := outbox.NewForwarder(db, localQueue(t, db, "accounts"), outbox.Config{Batch: batch}, slog.New(slog.DiscardHandler))
			write := func(rows int) {
				_, err := watch.ExecContext(t.Context(), `
					INSERT INTO outbox (partition, topic, key_hash, partition_key, event_id, event_type, metadata, payload, created_at)
					SELECT n % 16, 'accounts', n % 16, 'key', n, 'accounts.opened', '{}', 'x', now() FROM generate_series(1, $1::integer) AS n`, rows)
				require.NoError(t, err)
			}
			learn("when empty")
			for range 10 { // plans are kept after some executions: these see a small table
				write(16)
				require.Equal(t, 16, forwardAll(t, forwarder))
			}
			write(backlog)
			learn("when full")
			for moved := 0; moved < backlog; {
				n, err := forwarder.Forward(t.Context())
				require.NoError(t, err)
				require.NotZero(t, n)
				if moved < backlog/2 && moved+n >= backlog/2 {
					learn("in between")
				}
				moved += n
			}
			require.NoError(t, db.Close()) // the server counts what its backends have reported
			var read int64
			eventually(t, "the server's counters", func() bool {
				require.NoError(t, watch.QueryRowContext(t.Context(), `SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'outbox'`).Scan(&read))
				return read >= backlog
			})
			require.Less(t, read, int64(5*backlog), "rows of the outbox read")
		})
	}
}

// A row leaves the outbox for the log of a queue in the same database, or for the
// record of what a broker elsewhere has confirmed.
func TestWhereSentRowsGo(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		count := func(table string) (n int) {
			require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&n))
			return n
		}
		b := setup(t, db)
		payloads, _ := numbers(20)
		queue := localQueue(t, db, "accounts")
		b.publish(payloads...)
		require.Equal(t, 20, forwardAll(t, b.forwarder(outbox.Config{})))
		require.Equal(t, []int{0, 20, 0}, []int{count("outbox"), count("outbox_sent"), count("queue_log")})
		var written, sent database.Time
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT MIN(created_at), MIN(sent_at) FROM outbox_sent WHERE event_type = 'accounts.opened'`).Scan(&written, &sent))
		require.False(t, sent.Before(written.Time))

		b.publish(payloads...)
		require.Equal(t, 20, forwardAll(t, outbox.NewForwarder(db, queue, outbox.Config{}, b.logger)))
		require.Equal(t, []int{0, 20, 20}, []int{count("outbox"), count("outbox_sent"), count("queue_log")})
	})
}
