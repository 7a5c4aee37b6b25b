package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

func nothing(context.Context, database.Tx, envelope.Event[ticked]) error { return nil }

func TestMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	type unlisted struct{}
	_, err := consumer.NewRouter([]consumer.Consumer{
		consumer.New("Bad Name", consumer.On(nothing)),
		consumer.New("empty"),
		consumer.New("twice", consumer.On(nothing), consumer.On(nothing)),
		consumer.New("same", consumer.On(nothing)),
		consumer.New("same", consumer.On(nothing)),
		consumer.New("mixed", consumer.On(nothing), consumer.OnEffect(func(context.Context, envelope.Event[tocked]) error { return nil })),
		consumer.New("options", consumer.On(nothing), consumer.Retry(-1), consumer.Timeout(0), consumer.Concurrency(0)),
		consumer.New("unlisted", consumer.On(func(context.Context, database.Tx, envelope.Event[unlisted]) error { return nil })),
	}, catalog(t), nil, nil, nil, consumer.Config{}, slog.New(slog.DiscardHandler))
	for _, problem := range []string{
		"Config.Service is empty",
		`consumer "Bad Name": the name must be lower-case words joined by hyphens, such as reserve-stock`,
		`consumer "empty": it handles nothing: add On or OnEffect`,
		`consumer "twice": consumer_test.ticked has two handlers`,
		`consumer "same": there are two of that name`,
		`consumer "mixed": On and OnEffect can't be mixed: make it two consumers`,
		`consumer "options": Retry(-1): want 0 or more`,
		`consumer "options": Timeout(0s): want more than zero`,
		`consumer "options": Concurrency(0): want 1 or more`,
		`consumer "unlisted": envelope: unknown event type: consumer_test.unlisted is not the payload of a type in the catalog`,
	} {
		require.ErrorContains(t, err, problem)
	}
}

func TestPermanent(t *testing.T) {
	t.Parallel()
	cause := errors.New("no such sku")
	require.False(t, consumer.IsPermanent(cause))
	require.False(t, consumer.IsPermanent(nil))
	require.NoError(t, consumer.Permanent(nil))
	wrapped := fmt.Errorf("reserve: %w", consumer.Permanent(cause))
	require.True(t, consumer.IsPermanent(wrapped))
	require.ErrorIs(t, wrapped, cause)
	require.EqualError(t, wrapped, "reserve: no such sku")
	require.True(t, consumer.IsPermanent(&envelope.Error{Kind: envelope.ErrPayload}))
}

func TestRetryHorizon(t *testing.T) {
	t.Parallel()
	consumers := []consumer.Consumer{
		consumer.New("quick", consumer.On(nothing), consumer.Retry(0), consumer.Timeout(time.Second)),
		consumer.New("slow", consumer.On(nothing), consumer.Retry(2), consumer.Timeout(10*time.Second)),
	}
	// three calls, and pauses of 1s and 2s that jitter may make half as long again
	require.Equal(t, 30*time.Second+4500*time.Millisecond, consumer.RetryHorizon(consumers, consumer.Config{RetryPause: time.Second}))
}
