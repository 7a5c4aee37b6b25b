package inbox_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/inbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func delivery(ctx context.Context, id string) *message.Message {
	m := message.NewMessage(id, nil)
	m.SetContext(envelope.NewContext(ctx, envelope.Header{ID: id, Source: "tests", Type: "t"}))
	return m
}

func processed(t *testing.T, db *database.DB) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM processed`).Scan(&n))
	return n
}

func both(t *testing.T, f func(t *testing.T, db *database.DB, wrap func(consumer string, limit int) message.HandlerMiddleware)) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		in := inbox.New(db, slog.New(slog.DiscardHandler))
		t.Run("transaction", func(t *testing.T) {
			f(t, db, func(consumer string, limit int) message.HandlerMiddleware {
				return in.Transaction(consumer, limit, true)
			})
		})
		_, err := db.ExecContext(t.Context(), `DELETE FROM processed`)
		require.NoError(t, err)
		t.Run("effect", func(t *testing.T) { f(t, db, in.Effect) })
	})
}

func TestHandledOnceAConsumer(t *testing.T) {
	both(t, func(t *testing.T, db *database.DB, wrap func(string, int) message.HandlerMiddleware) {
		calls := 0
		fail := errors.New("fail")
		handler := func(*message.Message) ([]*message.Message, error) {
			if calls++; calls == 1 {
				return nil, fail
			}
			return nil, nil
		}
		for _, consumer := range []string{"a", "b"} {
			h := wrap(consumer, 4)(handler)
			if consumer == "a" {
				m := delivery(t.Context(), "1")
				before := m.Context()
				_, err := h(m)
				require.ErrorIs(t, err, fail)
				require.Zero(t, processed(t, db), "a failure is not recorded")
				require.Equal(t, before, m.Context(), "a retry starts afresh")
			}
			for range 3 {
				_, err := h(delivery(t.Context(), "1"))
				require.NoError(t, err)
			}
		}
		require.Equal(t, 3, calls)
		require.Equal(t, 2, processed(t, db))
	})
}

// Two deliveries at the same time: in a transaction the second waits for the
// first. (For an effect there is nothing to wait with.)
func TestConcurrentDuplicates(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		var calls atomic.Int32
		h := inbox.New(db, slog.New(slog.DiscardHandler)).Transaction("c", 8, false)(func(m *message.Message) ([]*message.Message, error) {
			calls.Add(1)
			_, ok := inbox.Tx(m.Context())
			require.True(t, ok)
			return nil, nil
		})
		var deliveries sync.WaitGroup
		for range 8 {
			deliveries.Go(func() {
				_, err := h(delivery(t.Context(), "1"))
				require.NoError(t, err)
			})
		}
		deliveries.Wait()
		require.EqualValues(t, 1, calls.Load())
	})
}

func TestAtMostSoManyAtATime(t *testing.T) {
	both(t, func(t *testing.T, _ *database.DB, wrap func(string, int) message.HandlerMiddleware) {
		running, release := make(chan struct{}), make(chan struct{})
		h := wrap("c", 1)(func(*message.Message) ([]*message.Message, error) {
			running <- struct{}{}
			<-release
			return nil, nil
		})
		done := make(chan error)
		go func() {
			_, err := h(delivery(t.Context(), "1"))
			done <- err
		}()
		<-running
		// The next one waits for its turn, and gives up when it is told to.
		ctx, cancel := context.WithCancelCause(t.Context())
		told := errors.New("told to")
		cancel(told)
		_, err := h(delivery(ctx, "2"))
		require.ErrorIs(t, err, told)
		close(release)
		require.NoError(t, <-done)
	})
}

func TestDatabaseAwayIsNotTheEventsFault(t *testing.T) {
	t.Parallel()
	url := databasetest.PostgresURL(t)
	db, observer := databasetest.Open(t, url), databasetest.Open(t, url)
	in := inbox.New(db, slog.New(slog.DiscardHandler))
	kill := func(m *message.Message) ([]*message.Message, error) {
		_, err := observer.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		require.NoError(t, err)
		if tx, ok := inbox.Tx(m.Context()); ok {
			_, err = tx.ExecContext(m.Context(), `SELECT 1`)
		}
		return nil, err
	}
	_, err := in.Transaction("c", 1, false)(kill)(delivery(t.Context(), "1"))
	require.ErrorIs(t, err, inbox.ErrUnavailable)

	// An error of the effect itself stays what it is, whatever it looks like.
	_, err = in.Effect("c", 1)(func(*message.Message) ([]*message.Message, error) { return nil, context.DeadlineExceeded })(delivery(t.Context(), "2"))
	require.NotErrorIs(t, err, inbox.ErrUnavailable)
}

func TestChainPutTogetherWrongly(t *testing.T) {
	both(t, func(t *testing.T, _ *database.DB, wrap func(string, int) message.HandlerMiddleware) {
		_, err := wrap("c", 1)(func(*message.Message) ([]*message.Message, error) { panic("called") })(message.NewMessage("1", nil))
		require.EqualError(t, err, "inbox: no event in the context: the envelope middleware must come first")
	})
}

func TestPrune(t *testing.T) {
	both(t, func(t *testing.T, db *database.DB, wrap func(string, int) message.HandlerMiddleware) {
		h := wrap("c", 1)(func(*message.Message) ([]*message.Message, error) { return nil, nil })
		for _, id := range []string{"1", "2", "3"} {
			_, err := h(delivery(t.Context(), id))
			require.NoError(t, err)
		}
		prune := func(before time.Time) (n int64) {
			require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) (err error) {
				n, err = inbox.Prune(ctx, tx, before, 2)
				return err
			}))
			return n
		}
		require.Zero(t, prune(time.Now().Add(-time.Hour)))
		require.EqualValues(t, 2, prune(time.Now().Add(time.Hour)))
		require.EqualValues(t, 1, prune(time.Now().Add(time.Hour)))
	})
}
