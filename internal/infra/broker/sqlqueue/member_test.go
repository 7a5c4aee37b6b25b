package sqlqueue_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

// another makes a member of group g that lives for a while and never renews.
func another(t *testing.T, ctx context.Context, tx database.Tx, lives time.Duration) {
	t.Helper()
	_, err := tx.ExecContext(ctx, `INSERT INTO queue_members (member, seen_until) VALUES ('another', $1)`, time.Now().Add(lives))
	require.NoError(t, err)
	_, err = tx.ExecContext(ctx, `INSERT INTO queue_subscriptions (subscription, consumer_group, topic, member) VALUES ('another', 'g', $1, 'another')`, topic)
	require.NoError(t, err)
	_, err = tx.ExecContext(ctx, `UPDATE queue_cursors SET owner = 'another', epoch = epoch + 1`)
	require.NoError(t, err)
}

// eventually waits for a query's number.
func eventually(t *testing.T, db *database.DB, want int64, query string, args ...any) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got := value[int64](t, db, query, args...)
		if got == want {
			return
		}
		require.True(t, time.Now().Before(deadline), "%s: %d, should be %d", query, got, want)
		time.Sleep(5 * time.Millisecond)
	}
}

// held counts a group's partitions that live members hold.
const held = `SELECT COUNT(*) FROM queue_cursors c JOIN queue_subscriptions s ON s.subscription = c.owner WHERE c.consumer_group = $1`

// fairShares counts a group's subscriptions that have so many partitions.
const fairShares = `SELECT COUNT(*) FROM (SELECT owner FROM queue_cursors WHERE consumer_group = $1 AND owner <> '' GROUP BY owner HAVING COUNT(*) = $2) AS shares`

// ackAll acks until the channel is closed.
func ackAll(messages <-chan *message.Message) {
	for m := range messages {
		m.Ack()
	}
}

// A member that was removed while its process stood still, and whose partition
// another one has taken, can't move the cursor, stops reading, joins again, and
// takes its part when the other is gone.
func TestRemovedMemberIsFencedOutAndJoinsAgain(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db, sqlqueue.Config{Partitions: 1, Lease: 600 * time.Millisecond})
		messages, _ := subscribe(t, b, "g")
		publish(t, b, "k1", "1")
		publish(t, b, "k2", "2")
		first, second := <-messages, <-messages
		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM queue_members`)
			require.NoError(t, err)
			another(t, ctx, tx, time.Second)
			return nil
		}))
		first.Ack()
		<-second.Context().Done() // it has noticed
		require.Zero(t, value[int64](t, db, `SELECT next_offset FROM queue_cursors`), "the cursor is the other's now")
		second.Ack()

		for _, again := range []*message.Message{<-messages, <-messages} {
			require.Contains(t, []string{"1", "2"}, again.UUID)
			again.Ack()
		}
		eventually(t, db, 2, `SELECT next_offset FROM queue_cursors`)
		require.EqualValues(t, 1, value[int64](t, db, `SELECT COUNT(*) FROM queue_members`))
	})
}

// A member that was removed, but whose partitions nobody has taken, goes on where
// it is.
func TestRemovedMemberKeepsWhatNobodyTook(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db, sqlqueue.Config{Partitions: 2, Lease: 600 * time.Millisecond})
		messages, _ := subscribe(t, b, "g")
		publish(t, b, "k", "1", "2")
		first := <-messages
		epochs := value[int64](t, db, `SELECT SUM(epoch) FROM queue_cursors`)
		_, err := db.ExecContext(t.Context(), `DELETE FROM queue_members`)
		require.NoError(t, err)
		eventually(t, db, 2, held, "g")
		require.NoError(t, first.Context().Err())
		first.Ack()
		m := <-messages
		require.Equal(t, "2", m.UUID)
		m.Ack()
		eventually(t, db, 2, `SELECT SUM(next_offset) FROM queue_cursors`)
		require.Equal(t, epochs, value[int64](t, db, `SELECT SUM(epoch) FROM queue_cursors`))
	})
}

// A process that stands still for longer than its lease: another one takes
// everything, and when it goes on it can't move a cursor, and gets its share again.
func TestStalledProcess(t *testing.T) {
	t.Parallel()
	url := databasetest.PostgresURL(t)
	proxy := databasetest.NewProxy(t, url)
	config := sqlqueue.Config{Partitions: 4, Lease: time.Second}
	stalling := setup(t, databasetest.Open(t, proxy.URL), config)
	db := databasetest.Open(t, url)
	other := setup(t, db, config)
	stalled, _ := subscribe(t, stalling, "g")
	const n = 8
	for i := range n {
		publish(t, other, fmt.Sprint("k", i), fmt.Sprint(i))
	}
	var inFlight []*message.Message
	for range n {
		inFlight = append(inFlight, <-stalled)
	}
	owner := value[string](t, db, `SELECT DISTINCT owner FROM queue_cursors`)

	resume := proxy.Stall()
	t.Cleanup(resume)
	messages, _ := subscribe(t, other, "g")
	var unfinished *message.Message
	for seen := map[string]bool{}; len(seen) < n; {
		m := <-messages
		seen[m.UUID] = true
		if m.UUID == "0" {
			unfinished = m
		} else {
			m.Ack()
		}
	}
	require.Zero(t, value[int64](t, db, `SELECT COUNT(*) FROM queue_cursors WHERE owner = $1`, owner))
	for _, m := range inFlight {
		m.Ack() // too late
	}
	resume()
	for _, m := range inFlight {
		<-m.Context().Done()
	}
	eventually(t, db, 0, `
		SELECT c.next_offset - l."offset" FROM queue_cursors c
		JOIN queue_log l ON l.topic = c.topic AND l.partition = c.partition AND l.message_id = '0'`)
	unfinished.Ack()
	eventually(t, db, n, `SELECT SUM(next_offset) FROM queue_cursors`)
	eventually(t, db, 2, `SELECT COUNT(*) FROM queue_cursors WHERE owner = $1`, owner)
	eventually(t, db, 4, held, "g")
}

// Two processes share the partitions of the groups that both read, and each has
// all partitions of those that it reads alone.
func TestProcessesWithDifferentConsumers(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		config := sqlqueue.Config{Partitions: 12, Lease: time.Second}
		a, b := setup(t, db, config), setup(t, db, config)
		onlyA, _ := subscribe(t, a, "only a")
		both1, _ := subscribe(t, a, "both")
		go ackAll(onlyA)
		go ackAll(both1)
		eventually(t, db, 1, fairShares, "both", 12)
		both2, stop2 := subscribe(t, b, "both")
		onlyB, stopB := subscribe(t, b, "only b")
		go ackAll(both2)
		go ackAll(onlyB)
		eventually(t, db, 2, fairShares, "both", 6)
		eventually(t, db, 1, fairShares, "only a", 12)
		eventually(t, db, 1, fairShares, "only b", 12)
		both3, stop3 := subscribe(t, a, "both") // a second one in one process counts as any other
		go ackAll(both3)
		eventually(t, db, 3, fairShares, "both", 4)
		require.EqualValues(t, 2, value[int64](t, db, `SELECT COUNT(*) FROM queue_members`))

		for i := range 40 {
			publish(t, a, fmt.Sprint("k", i), fmt.Sprint(i))
		}
		for _, group := range []string{"only a", "both", "only b"} {
			eventually(t, db, 40, `SELECT SUM(next_offset) FROM queue_cursors WHERE consumer_group = $1`, group)
		}

		// Who leaves gives everything back at once, and leaves nothing behind.
		stop3()
		require.EqualValues(t, 2, value[int64](t, db, `SELECT COUNT(*) FROM queue_subscriptions WHERE consumer_group = 'both'`))
		stop2()
		stopB()
		require.EqualValues(t, 1, value[int64](t, db, `SELECT COUNT(*) FROM queue_members`))
		require.EqualValues(t, 2, value[int64](t, db, `SELECT COUNT(*) FROM queue_subscriptions`))
		require.Zero(t, value[int64](t, db, held, "only b"))
		eventually(t, db, 1, fairShares, "both", 12)
	})
}

// What a failed statement has left behind is put right: the rows of a
// subscription that has ended, and a lease without a reader.
func TestLeftoversArePutRight(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db, sqlqueue.Config{Partitions: 2, Lease: 600 * time.Millisecond})
		messages, _ := subscribe(t, b, "g")
		eventually(t, db, 2, held, "g")
		_, err := db.ExecContext(t.Context(), `UPDATE queue_cursors SET epoch = epoch + 1`)
		require.NoError(t, err)
		eventually(t, db, 6, `SELECT SUM(epoch) FROM queue_cursors`) // given back, and taken again
		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO queue_subscriptions (subscription, consumer_group, topic, member)
				SELECT 'ended', consumer_group, topic, member FROM queue_subscriptions`)
			require.NoError(t, err)
			_, err = tx.ExecContext(ctx, `UPDATE queue_cursors SET owner = 'ended', epoch = epoch + 1`)
			return err
		}))
		eventually(t, db, 0, `SELECT COUNT(*) FROM queue_subscriptions WHERE subscription = 'ended'`)
		eventually(t, db, 2, held, "g")
		publish(t, b, "k", "1")
		(<-messages).Ack()
		eventually(t, db, 1, `SELECT SUM(next_offset) FROM queue_cursors`)
	})
}

// However many subscriptions there are, an idle process sends one statement a
// heartbeat.
func TestIdleIsOneStatementAHeartbeat(t *testing.T) {
	t.Parallel()
	proxy := databasetest.NewProxy(t, databasetest.PostgresURL(t))
	db := databasetest.Open(t, proxy.URL, sqlqueue.Migrations())
	const lease, topics, groups, window = 900 * time.Millisecond, 3, 4, 10
	b := sqlqueue.New(db, sqlqueue.Config{Lease: lease}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	for i := range topics {
		require.NoError(t, b.EnsureTopics(t.Context(), fmt.Sprint("topic", i)))
		for j := range groups {
			s, err := b.Subscriber(fmt.Sprint("group", j))
			require.NoError(t, err)
			_, err = s.Subscribe(t.Context(), fmt.Sprint("topic", i))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
		}
	}
	sent := int64(window + 2)
	for deadline := time.Now().Add(30 * time.Second); sent > window+1 && time.Now().Before(deadline); { // until everything is taken
		before := proxy.Statements()
		time.Sleep(window * lease / 3)
		sent = proxy.Statements() - before
	}
	require.LessOrEqual(t, sent, int64(window+1), "statements in the time of %d heartbeats", window)
	require.Positive(t, sent)
}

// Members that see the same partitions become free all reach for them at once: each
// partition goes to one of them, and nobody loses what it has just taken.
func TestFreePartitionsGoToOneMemberEach(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t), sqlqueue.Migrations())
	const members, partitions, rounds = 5, 40, 50
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var brokers []*sqlqueue.Local
	for range members {
		b := sqlqueue.NewLocal(db, sqlqueue.Config{Partitions: partitions}, logger)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		brokers = append(brokers, b)
	}
	require.NoError(t, brokers[0].EnsureTopics(t.Context(), topic))
	for _, b := range brokers[1:] {
		subscribe(t, b, "g")
	}
	epochs := func() int64 { return value[int64](t, db, `SELECT SUM(epoch) FROM queue_cursors`) }
	for range rounds {
		_, leave := subscribe(t, brokers[0], "g")
		eventually(t, db, members, fairShares, "g", partitions/members)
		before := epochs()
		leave()
		eventually(t, db, members-1, fairShares, "g", partitions/(members-1))
		require.EqualValues(t, partitions/members, epochs()-before, "takings of the partitions that became free")
	}
	require.Empty(t, log.String())
}
