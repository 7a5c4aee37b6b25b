package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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
		consumer.New("unlisted", consumer.Publishes[unlisted](), consumer.Publishes[ticked](), consumer.On(func(context.Context, database.Tx, envelope.Event[unlisted]) error { return nil })),
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
	require.Equal(t, 2, strings.Count(err.Error(), `consumer "unlisted"`), "what it handles, and what it publishes")
}

func TestDeclarations(t *testing.T) {
	t.Parallel()
	names := func(entries []*envelope.Entry, err error) []string {
		require.NoError(t, err)
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name)
		}
		return names
	}
	c := consumer.New("clock", consumer.On(nothing), consumer.Publishes[tocked](), consumer.Publishes[ticked](), consumer.Publishes[tocked]())
	require.Equal(t, []string{"clock.ticked"}, names(c.Handles(catalog(t))))
	require.Equal(t, []string{"clock.ticked", "clock.tocked"}, names(c.Publishes(catalog(t))))
	p := consumer.NewProducer("watch", consumer.Publishes[ticked]())
	require.Equal(t, "watch", p.Name())
	require.Equal(t, []string{"clock.ticked"}, names(p.Publishes(catalog(t))))

	_, err := consumer.Producer{}.Publishes(catalog(t))
	require.ErrorContains(t, err, `producer "": the name must be lower-case words`)
	type unlisted struct{}
	for want, wrong := range map[string]consumer.Producer{
		`producer "A Watch": the name must be lower-case words joined by hyphens, such as web-api`: consumer.NewProducer("A Watch", consumer.Publishes[ticked]()),
		`producer "watch": it publishes nothing: add Publishes`:                                    consumer.NewProducer("watch"),
		`producer "watch": envelope: unknown event type: consumer_test.unlisted is not the payload of a type in the catalog: add it to internal/events/catalog.go`: consumer.NewProducer("watch",
			consumer.Publishes[unlisted]()),
	} {
		_, err := wrong.Publishes(catalog(t))
		require.EqualError(t, err, want)
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
