package kafka

import (
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/kafka/kafkatest"
)

func keyed(uuid, key string, payload []byte) *message.Message {
	msg := message.NewMessage(uuid, payload)
	msg.Metadata.Set(broker.PartitionKey, key)
	return msg
}

// TestTooLargeForTheServer: the server's limit is below the client's. Only the
// message that is too large is rejected, not those that travelled with it.
func TestTooLargeForTheServer(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	b := open(t, s, Config{})
	require.NoError(t, s.Cluster.CreateTopic("orders", 1, map[string]string{"max.message.bytes": "10000"}))

	const small, rounds = 8, 20
	for range rounds {
		results := make(chan error)
		for i := range small {
			go func() { results <- b.Publisher().Publish("orders", keyed(fmt.Sprint(i), "key", make([]byte, 5000))) }()
		}
		err := b.Publisher().Publish("orders", keyed("large", "key", make([]byte, 20000)))
		require.ErrorIs(t, err, broker.ErrRejected)
		require.ErrorContains(t, err, "it takes 20102 bytes, and the topic's max.message.bytes is 10000")
		for range small {
			require.NoError(t, <-results)
		}
	}
	lag, err := b.Lag(t.Context(), "nobody", "orders")
	require.NoError(t, err)
	require.EqualValues(t, small*rounds, lag)
}

func TestTooLargeForTheClient(t *testing.T) {
	t.Parallel()
	b := open(t, kafkatest.Start(t), Config{MaxMessageBytes: 5000})
	require.NoError(t, b.EnsureTopics(t.Context(), "orders"))
	err := b.Publisher().Publish("orders", keyed("large", "key", make([]byte, 6000)))
	require.ErrorIs(t, err, broker.ErrRejected)
	require.ErrorContains(t, err, "kafka: publish to orders: ")
	require.ErrorContains(t, err, "it takes 6102 bytes, and MaxMessageBytes is 5000")
}

func TestPublishFailsSoonWithoutServer(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	b := open(t, s, Config{})
	require.NoError(t, b.EnsureTopics(t.Context(), "orders"))
	msg := keyed("id", "key", nil)
	require.NoError(t, b.Publisher().Publish("orders", msg))

	end := s.Outage(t)
	start := time.Now()
	err := b.Publisher().Publish("orders", msg)
	require.Error(t, err)
	require.NotErrorIs(t, err, broker.ErrRejected)
	require.Less(t, time.Since(start), 10*time.Second)
	end()
	require.NoError(t, b.Publisher().Publish("orders", msg))
}

func TestPublishToUnknownTopic(t *testing.T) {
	t.Parallel()
	b := open(t, kafkatest.Start(t, kfake.AllowAutoTopicCreation()), Config{})
	err := b.Publisher().Publish("unknown", keyed("id", "key", nil))
	require.ErrorContains(t, err, "kafka: publish to unknown: ")
	require.NotErrorIs(t, err, broker.ErrRejected) // it may be created yet
}
