package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/deadletter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ada = deadletter.Operator{Name: "ada", Reason: "because"}

func setup(t *testing.T, db *database.DB) *deadletter.Store {
	t.Helper()
	return deadletter.NewStore(db, deadletter.Config{Poll: 10 * time.Millisecond, CloseTimeout: time.Second, Lease: 2 * time.Second}, slog.New(slog.DiscardHandler))
}

func event(id, key string) *message.Message {
	m := message.NewMessage(id, []byte(fmt.Sprintf(
		`{"specversion":"1.0","id":%q,"source":"s","type":"t.done","schemaversion":2,"partitionkey":%q,"data":{}}`, id, key)))
	m.Metadata.Set("partitionkey", key)
	m.Metadata.Set("odd", "ß\n")
	return m
}

// fail sends the message through the middleware to a handler that fails.
func fail(t *testing.T, store *deadletter.Store, consumer string, m *message.Message, err error) {
	t.Helper()
	middleware, mistake := store.Middleware(consumer, "things", func(error) bool { return true })
	require.NoError(t, mistake)
	_, left := middleware(deadletter.Attempts(func(*message.Message) ([]*message.Message, error) { return nil, err }))(m)
	require.NoError(t, left)
}

func TestStoresTheEventAsReceived(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store := setup(t, db)
		m := event("e1", "k")
		cause := errors.New("cause")
		fail(t, store, "c", m, fmt.Errorf("do: %w", cause))
		letter, err := store.Get(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, deadletter.Dead, letter.State)
		require.Equal(t, "c", letter.Consumer)
		require.Equal(t, "things", letter.Topic)
		require.Equal(t, "e1", letter.EventID)
		require.Equal(t, "t.done", letter.EventType)
		require.Equal(t, 2, letter.SchemaVersion)
		require.Equal(t, "k", letter.PartitionKey)
		require.Equal(t, "do: cause", letter.Error)
		require.Equal(t, []deadletter.Cause{{Type: "*fmt.wrapError", Message: "do: cause"}, {Type: "*errors.errorString", Message: "cause"}}, letter.Chain)
		require.Equal(t, message.Metadata{"partitionkey": "k", "odd": "ß\n"}, letter.Metadata)
		require.Equal(t, string(m.Payload), string(letter.Payload))
		require.WithinDuration(t, time.Now(), letter.FirstFailedAt, time.Minute)
		require.Nil(t, letter.ClosedAt)

		// Again, after a redelivery: the same row. For another consumer: another.
		fail(t, store, "c", event("e1", "k"), errors.New("later"))
		fail(t, store, "d", event("e1", "k"), errors.New("other"))
		letters, total, err := store.List(t.Context(), deadletter.Selection{}, 10)
		require.NoError(t, err)
		require.EqualValues(t, 2, total)
		require.Equal(t, "d", letters[0].Consumer, "the newest first")
		require.Equal(t, 2, letters[1].Attempts)
		require.Equal(t, "later", letters[1].Error)
	})
}

func TestUnreadableMessagesAreToldApart(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store := setup(t, db)
		for _, m := range []*message.Message{
			message.NewMessage("1", []byte("\x00junk")), message.NewMessage("1", []byte("\x00junk")),
			message.NewMessage("2\x00\xff", []byte("\x00junk")), message.NewMessage("1", []byte("other")), message.NewMessage("3", nil),
		} {
			fail(t, store, "c", m, errors.New("malformed: \x00\xff"))
		}
		_, total, err := store.List(t.Context(), deadletter.Selection{}, 10)
		require.NoError(t, err)
		require.EqualValues(t, 4, total)
	})
}

func TestInterruptedIsNotGivenUp(t *testing.T) {
	t.Parallel()
	store := setup(t, databasetest.Open(t, databasetest.SQLiteURL(t)))
	interrupted := errors.New("stopping")
	middleware, err := store.Middleware("c", "things", func(err error) bool { return !errors.Is(err, interrupted) })
	require.NoError(t, err)
	_, err = middleware(func(*message.Message) ([]*message.Message, error) { return nil, interrupted })(event("e", "k"))
	require.ErrorIs(t, err, interrupted)
	counts, err := store.Counts(t.Context())
	require.NoError(t, err)
	require.Zero(t, counts[deadletter.Dead])
}

func TestSelections(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store := setup(t, db)
		for i := range 4 {
			fail(t, store, []string{"even", "odd"}[i%2], event(fmt.Sprint("e", i), "k"), errors.New("x"))
		}
		ctx := t.Context()
		_, err := store.Replay(ctx, deadletter.Selection{}, ada)
		require.ErrorIs(t, err, deadletter.ErrNothingSelected)
		require.EqualError(t, err, "deadletter: replay: nothing selected: give ids, a consumer, an event type, or all")
		_, err = store.Discard(ctx, deadletter.Selection{IDs: []int64{1, 99}}, ada)
		require.ErrorIs(t, err, deadletter.ErrNotFound)
		require.EqualError(t, err, "deadletter: discard: no such dead letter: of the 2 ids given, 1 are in a state that allows it ('dead')")
		_, err = store.Get(ctx, 99)
		require.EqualError(t, err, "deadletter: 99: no such dead letter")

		n, err := store.Discard(ctx, deadletter.Selection{IDs: []int64{1}}, ada)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		n, err = store.Replay(ctx, deadletter.Selection{Consumer: "even"}, ada)
		require.NoError(t, err)
		require.EqualValues(t, 1, n, "what is discarded stays so")
		n, err = store.Replay(ctx, deadletter.Selection{IDs: []int64{1}}, ada)
		require.NoError(t, err)
		require.EqualValues(t, 1, n, "unless it is asked for by id")
		n, err = store.Discard(ctx, deadletter.Selection{EventType: "t.done"}, ada)
		require.NoError(t, err)
		require.EqualValues(t, 2, n)
		counts, err := store.Counts(ctx)
		require.NoError(t, err)
		require.Equal(t, map[deadletter.State]int64{deadletter.Dead: 0, deadletter.Scheduled: 0, deadletter.Replaying: 2, deadletter.Resolved: 0, deadletter.Discarded: 2}, counts)

		var actions int
		require.NoError(t, db.QueryRowContext(ctx, `SELECT COUNT(*) FROM dead_letter_actions WHERE actor = 'ada' AND reason = 'because'`).Scan(&actions))
		require.Equal(t, 4, actions, "what failed left no trace")
	})
}

func TestReplaysAreDeliveredOnceInOrderPerKey(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store := setup(t, db)
		const n = 60
		for i := range n {
			fail(t, store, "c", event(fmt.Sprintf("e%02d", i), fmt.Sprint("k", i%3)), errors.New("x"))
		}
		fail(t, store, "somebody", event("e", "k"), errors.New("x"))
		_, err := store.Replay(t.Context(), deadletter.Selection{All: true}, ada)
		require.NoError(t, err)

		var mu sync.Mutex
		seen := map[string][]string{}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for range 2 { // two instances
			subscriber := store.Subscriber()
			messages, err := subscriber.Subscribe(ctx, "c")
			require.NoError(t, err)
			running.Go(func() {
				for m := range messages {
					mu.Lock()
					key := m.Metadata.Get("partitionkey")
					seen[key] = append(seen[key], m.UUID)
					mu.Unlock()
					m.Ack()
				}
				require.NoError(t, subscriber.Close())
			})
		}
		require.Eventually(t, func() bool {
			counts, err := store.Counts(t.Context())
			require.NoError(t, err)
			return counts[deadletter.Resolved] == n
		}, 30*time.Second, 5*time.Millisecond)
		stop()
		running.Wait()
		for key, ids := range seen {
			require.Len(t, ids, n/3)
			require.IsIncreasing(t, ids, key)
		}
		counts, err := store.Counts(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, counts[deadletter.Replaying], "the other consumer's waits for it")
	})
}

// A nack, and a process that dies, leave the replay to another round.
func TestReplayOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store := setup(t, db)
		fail(t, store, "c", event("e1", "k"), errors.New("x"))
		_, err := store.Replay(t.Context(), deadletter.Selection{All: true}, ada)
		require.NoError(t, err)
		// A process claimed it and died.
		_, err = db.ExecContext(t.Context(), `UPDATE dead_letters SET claimed_by = 'dead', claimed_until = $1`, time.Now().Add(300*time.Millisecond))
		require.NoError(t, err)

		subscriber := store.Subscriber()
		messages, err := subscriber.Subscribe(t.Context(), "c")
		require.NoError(t, err)
		(<-messages).Nack()
		m := <-messages
		require.Equal(t, "e1", m.UUID)
		require.Equal(t, "ß\n", m.Metadata.Get("odd"))
		m.Ack()
		require.Eventually(t, func() bool {
			letter, err := store.Get(t.Context(), 1)
			require.NoError(t, err)
			return letter.State == deadletter.Resolved && letter.Replays == 2 && letter.ClosedAt != nil
		}, 10*time.Second, 5*time.Millisecond)
		require.NoError(t, subscriber.Close())
		require.NoError(t, subscriber.Close())
		_, err = subscriber.Subscribe(t.Context(), "c")
		require.Error(t, err)

		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			n, err := deadletter.Prune(ctx, tx, time.Now().Add(time.Hour), 10)
			require.EqualValues(t, 1, n)
			return err
		}))
	})
}
