package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/deadletter"
)

// consume subscribes for a consumer until the test ends.
func consume(t *testing.T, store *deadletter.Store, consumer string) <-chan *message.Message {
	t.Helper()
	subscriber := store.Subscriber()
	messages, err := subscriber.Subscribe(t.Context(), consumer)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, subscriber.Close()) })
	return messages
}

// However many consumers there are, an idle process sends one statement a poll.
func TestOneLookForAllConsumers(t *testing.T) {
	t.Parallel()
	proxy := databasetest.NewProxy(t, databasetest.PostgresURL(t))
	const poll, window = 250 * time.Millisecond, 8
	db := databasetest.Open(t, proxy.URL)
	store := deadletter.NewStore(db, deadletter.Config{Poll: poll}, slog.New(slog.DiscardHandler))
	for i := range 5 {
		consume(t, store, fmt.Sprint("c", i))
	}
	sent := int64(window + 2)
	for deadline := time.Now().Add(30 * time.Second); sent > window+1 && time.Now().Before(deadline); { // until the first looks are over
		before := proxy.Statements()
		time.Sleep(window * poll)
		sent = proxy.Statements() - before
	}
	require.LessOrEqual(t, sent, int64(window+1), "statements in the time of %d polls", window)
	require.Positive(t, sent)
}

// A look wakes the consumers that have something to do, whichever those are, also
// two subscriptions of one, and after all others have ended.
func TestALookWakesTheRightConsumers(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store := setup(t, db)
		for _, consumer := range []string{"a", "b", "nobody"} {
			fail(t, store, consumer, event("e-"+consumer, "k"), errors.New("x"))
		}
		first := store.Subscriber()
		_, err := first.Subscribe(t.Context(), "a")
		require.NoError(t, err)
		require.NoError(t, first.Close()) // the last one: looking ends, and begins again
		a, b := consume(t, store, "a"), consume(t, store, "b")
		_, err = store.Replay(t.Context(), deadletter.Selection{All: true}, ada)
		require.NoError(t, err)
		for consumer, messages := range map[string]<-chan *message.Message{"a": a, "b": b} {
			m := <-messages
			require.Equal(t, "e-"+consumer, m.UUID)
			m.Ack()
		}
		require.Eventually(t, func() bool {
			counts, err := store.Counts(t.Context())
			require.NoError(t, err)
			return counts[deadletter.Resolved] == 2 && counts[deadletter.Replaying] == 1
		}, 30*time.Second, 5*time.Millisecond)
	})
}

// A replay asked for in another process doesn't wait for a poll.
func TestReplayWakesOtherProcesses(t *testing.T) {
	t.Parallel()
	url := databasetest.PostgresURL(t)
	service, operator := databasetest.Open(t, url), databasetest.Open(t, url)
	store := deadletter.NewStore(service, deadletter.Config{Poll: time.Hour}, slog.New(slog.DiscardHandler))
	fail(t, store, "c", event("e1", "k"), errors.New("x"))
	messages := consume(t, store, "c")

	ctx, stop := context.WithCancel(t.Context())
	woken, release := service.Woken("listening")
	defer release()
	ended := make(chan error)
	go func() { ended <- service.Listen(ctx, slog.New(slog.DiscardHandler)) }()
	<-woken
	_, err := setup(t, operator).Replay(t.Context(), deadletter.Selection{All: true}, ada)
	require.NoError(t, err)
	m := <-messages
	require.Equal(t, "e1", m.UUID)
	m.Ack()
	stop()
	require.NoError(t, <-ended)
}
