package sqlqueue_test

import (
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

// A group reads about as much of the log as it delivers, whatever the planner
// believed when it planned the statements: a table that was small then.
func TestGroupReadsWhatItDelivers(t *testing.T) {
	t.Parallel()
	const backlog = 20_000
	url := databasetest.PostgresURL(t)
	watch := databasetest.Open(t, url, sqlqueue.Migrations())
	db, err := database.Open(t.Context(), database.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	b := sqlqueue.NewLocal(db, sqlqueue.Config{Poll: 20 * time.Millisecond}, slog.New(slog.DiscardHandler))
	require.NoError(t, b.EnsureTopics(t.Context(), topic))

	next := 0
	publish := func(n int) {
		messages := make([]*message.Message, n)
		for i := range messages {
			messages[i] = message.NewMessageWithContext(context.Background(), fmt.Sprint(next), []byte("x"))
			messages[i].Metadata.Set("partitionkey", fmt.Sprint("key-", next%500))
			next++
		}
		require.NoError(t, b.Publisher().Publish(topic, messages...))
	}
	s, err := b.Subscriber("g")
	require.NoError(t, err)
	messages, err := s.Subscribe(t.Context(), topic)
	require.NoError(t, err)
	deliver := func(n int) {
		for range n {
			(<-messages).Ack()
		}
	}
	_, err = watch.ExecContext(t.Context(), `VACUUM ANALYZE queue_log`)
	require.NoError(t, err)
	for range 10 {
		publish(16)
		deliver(16)
	}
	publish(backlog)
	deliver(backlog)
	require.NoError(t, s.Close())
	require.NoError(t, b.Close())
	require.NoError(t, db.Close()) // the server counts what its backends have reported
	var read int64
	require.Eventually(t, func() bool {
		require.NoError(t, watch.QueryRowContext(t.Context(), `SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'queue_log'`).Scan(&read))
		return read >= backlog
	}, 30*time.Second, 20*time.Millisecond)
	require.Less(t, read, int64(5*backlog), "rows of the log read")
}
