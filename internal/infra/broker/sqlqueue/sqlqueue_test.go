package sqlqueue_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

const topic = "things"

func setup(t *testing.T, db *database.DB, config sqlqueue.Config) *sqlqueue.Local {
	t.Helper()
	_, err := db.Migrate(t.Context(), sqlqueue.Migrations())
	require.NoError(t, err)
	config.CloseTimeout = time.Second
	b := sqlqueue.NewLocal(db, config, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	require.NoError(t, b.EnsureTopics(t.Context(), topic))
	return b
}

func subscribe(t *testing.T, b broker.Broker, group string) (<-chan *message.Message, func()) {
	t.Helper()
	s, err := b.Subscriber(group)
	require.NoError(t, err)
	messages, err := s.Subscribe(t.Context(), topic)
	require.NoError(t, err)
	closed := false
	stop := func() {
		if !closed {
			closed = true
			require.NoError(t, s.Close())
		}
	}
	t.Cleanup(stop)
	return messages, stop
}

func publish(t *testing.T, b broker.Broker, key string, ids ...string) {
	t.Helper()
	var messages []*message.Message
	for _, id := range ids {
		m := message.NewMessageWithContext(t.Context(), id, nil)
		m.Metadata.Set(broker.PartitionKey, key)
		messages = append(messages, m)
	}
	require.NoError(t, b.Publisher().Publish(topic, messages...))
}

func value[T any](t *testing.T, db *database.DB, query string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&v))
	return v
}

// A member whose lease went to another can't move the cursor, stops reading,
// and takes its part again when the other is gone.
func TestSlowMemberIsFencedOut(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db, sqlqueue.Config{Partitions: 1, Lease: 600 * time.Millisecond})
		messages, _ := subscribe(t, b, "g")
		publish(t, b, "k1", "1")
		publish(t, b, "k2", "2")
		first, second := <-messages, <-messages
		// Another member takes the lease while both are being handled.
		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			another(t, ctx, tx, time.Second)
			return nil
		}))
		first.Ack()
		<-second.Context().Done() // it has noticed
		require.Zero(t, value[int64](t, db, `SELECT next_offset FROM queue_cursors`), "the cursor is the other's now")
		second.Ack()

		// The other one dies: its lease runs out, and what was not acked for it
		// comes again.
		for _, again := range []*message.Message{<-messages, <-messages} {
			require.Contains(t, []string{"1", "2"}, again.UUID)
			again.Ack()
		}
		require.Eventually(t, func() bool { return value[int64](t, db, `SELECT next_offset FROM queue_cursors`) == 2 }, 10*time.Second, 5*time.Millisecond)
	})
}

func TestOffsetsHaveNoGaps(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db, sqlqueue.Config{Partitions: 3})
		fail := fmt.Errorf("rolled back")
		for i := range 20 {
			err := db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
				hash := broker.Hash(fmt.Sprint("k", i%5))
				query, args := db.Rows(1, database.Integers("id", []int64{0}), database.Integers("key_hash", []int64{int64(hash)}),
					database.Strings("partition_key", []string{fmt.Sprint("k", i%5)}), database.Strings("message_id", []string{fmt.Sprint(i)}),
					database.Strings("metadata", []string{"{}"}), database.ByteStrings("payload", [][]byte{{}}))
				if err := b.PublishTx(ctx, tx, topic, broker.Rows{Query: query, Args: args, KeyHashes: []uint32{hash}}); err != nil {
					return err
				}
				if i%3 == 0 {
					return fail
				}
				return nil
			})
			if i%3 == 0 {
				require.ErrorIs(t, err, fail)
			} else {
				require.NoError(t, err)
			}
		}
		require.Equal(t, 13, value[int](t, db, `SELECT COUNT(*) FROM queue_log`))
		require.Equal(t, 13, value[int](t, db, `SELECT SUM(next_offset) FROM queue_partitions`))
		require.Zero(t, value[int](t, db, `
			SELECT COUNT(*) FROM (SELECT "offset" AS o, ROW_NUMBER() OVER (PARTITION BY partition ORDER BY "offset") - 1 AS n FROM queue_log) AS numbered WHERE o <> n`))
		rows, err := db.QueryContext(t.Context(), `SELECT partition, partition_key FROM queue_log`)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var partition int
			var key string
			require.NoError(t, rows.Scan(&partition, &key))
			require.Equal(t, broker.Partition(key, 3), partition)
		}
		require.NoError(t, rows.Err())
	})
}

// An older transaction open elsewhere doesn't stall the readers.
func TestLongTransactionElsewhereStallsNobody(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	b := setup(t, db, sqlqueue.Config{})
	elsewhere, err := db.Pool().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, elsewhere.Rollback()) }()
	_, err = elsewhere.ExecContext(t.Context(), `CREATE TABLE mine (id integer)`) // it has a transaction id now
	require.NoError(t, err)
	messages, _ := subscribe(t, b, "g")
	publish(t, b, "k", "1")
	(<-messages).Ack()
}

func TestPruneKeepsWhatAGroupHasNotPassed(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db, sqlqueue.Config{Partitions: 1})
		prune := func(before time.Time) (n int64) {
			require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) (err error) {
				n, err = sqlqueue.Prune(ctx, tx, before, 100)
				return err
			}))
			return n
		}
		later := time.Now().Add(time.Hour)
		fast, stopFast := subscribe(t, b, "fast")
		slow, stopSlow := subscribe(t, b, "slow")
		publish(t, b, "k", "1", "2", "3")
		for range 3 {
			(<-fast).Ack()
		}
		(<-slow).Ack()
		stopFast()
		stopSlow()
		require.Zero(t, prune(time.Now().Add(-time.Hour)), "too young")
		require.EqualValues(t, 1, prune(later))
		lag, err := b.Lag(t.Context(), "slow", topic)
		require.NoError(t, err)
		require.EqualValues(t, 2, lag)
		lag, err = b.Lag(t.Context(), "new", topic)
		require.NoError(t, err)
		require.EqualValues(t, 2, lag, "a new group starts with what is kept")

		// The slow group goes on where it was, over the gap.
		slow, _ = subscribe(t, b, "slow")
		for _, want := range []string{"2", "3"} {
			m := <-slow
			require.Equal(t, want, m.UUID)
			m.Ack()
		}
	})
}

// After a crash on SQLite nobody waits for a lease to run out: there is one
// process, and it has just started.
func TestRestartOnSQLiteTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	url := databasetest.SQLiteURL(t)
	db := databasetest.Open(t, url)
	b := setup(t, db, sqlqueue.Config{Lease: time.Hour})
	publish(t, b, "k", "1")
	messages, _ := subscribe(t, b, "g")
	<-messages // and the process dies here

	restarted := setup(t, databasetest.Open(t, url), sqlqueue.Config{Lease: time.Hour})
	messages, _ = subscribe(t, restarted, "g")
	m := <-messages
	require.Equal(t, "1", m.UUID)
	m.Ack()
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.SQLiteURL(t))
	b := setup(t, db, sqlqueue.Config{})
	err := b.Publisher().Publish("nowhere", message.NewMessage("1", nil))
	require.ErrorIs(t, err, broker.ErrRejected)
	require.EqualError(t, err, `sqlqueue: publish: the broker rejects the message: topic "nowhere" does not exist: is it in the catalog?`)
	_, err = b.Subscriber("")
	require.EqualError(t, err, "sqlqueue: the consumer group's name is empty")
	s, err := b.Subscriber("g")
	require.NoError(t, err)
	_, err = s.Subscribe(t.Context(), "nowhere")
	require.ErrorContains(t, err, `sqlqueue: subscribe g to nowhere`)
	require.NoError(t, s.Close())
	_, err = s.Subscribe(t.Context(), topic)
	require.EqualError(t, err, "sqlqueue: the subscriber is closed")
}
