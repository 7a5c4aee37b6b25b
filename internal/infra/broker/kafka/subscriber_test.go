package kafka

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/kafka/kafkatest"
)

func subscribe(t *testing.T, b *Broker, group, topic string) (message.Subscriber, <-chan *message.Message) {
	t.Helper()
	subscriber, err := b.Subscriber(group)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, subscriber.Close()) })
	messages, err := subscriber.Subscribe(t.Context(), topic)
	require.NoError(t, err)
	return subscriber, messages
}

func receive(t *testing.T, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg := <-messages:
		require.NotNil(t, msg, "the subscription ended")
		return msg
	case <-time.After(20 * time.Second):
		require.Fail(t, "no message")
		return nil
	}
}

// TestForeignRecords: records of another producer are delivered, and don't stop
// what comes after them in their partition.
func TestForeignRecords(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	b := open(t, s, Config{Partitions: 1})
	require.NoError(t, b.EnsureTopics(t.Context(), "orders"))
	config := clientConfig()
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer(s.Addrs, config)
	require.NoError(t, err)
	defer func() { require.NoError(t, producer.Close()) }()
	for _, record := range []*sarama.ProducerMessage{
		{Topic: "orders"},
		{Topic: "orders", Key: sarama.StringEncoder("order-1"), Value: sarama.StringEncoder(`{}`), Headers: []sarama.RecordHeader{*header("ce_id", "1")}},
	} {
		_, _, err := producer.SendMessage(record)
		require.NoError(t, err)
	}
	require.NoError(t, b.Publisher().Publish("orders", keyed("ours", "order-1", []byte("x"))))

	_, messages := subscribe(t, b, "group", "orders")
	bare := receive(t, messages)
	require.Equal(t, "orders/0/0", bare.UUID)
	require.Empty(t, bare.Payload)
	require.Empty(t, bare.Metadata)
	bare.Ack()
	binary := receive(t, messages)
	require.Equal(t, "orders/0/1", binary.UUID)
	require.Equal(t, message.Metadata{"ce_id": "1", broker.PartitionKey: "order-1"}, binary.Metadata)
	binary.Ack()
	ours := receive(t, messages)
	require.Equal(t, "ours", ours.UUID)
	ours.Ack()
}

// TestNackLetsTheGroupRebalance: a member whose message is nacked for ever must
// not keep the others from getting their partitions.
func TestNackLetsTheGroupRebalance(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	first, second := open(t, s, Config{Partitions: 2}), open(t, s, Config{Partitions: 2})
	require.NoError(t, first.EnsureTopics(t.Context(), "orders"))
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} { // some in each partition
		require.NoError(t, first.Publisher().Publish("orders", keyed(key, key, nil)))
	}
	_, stuck := subscribe(t, first, "group", "orders")
	receive(t, stuck).Nack()
	go func() {
		for msg := range stuck {
			msg.Nack()
		}
	}()
	start := time.Now()
	_, messages := subscribe(t, second, "group", "orders")
	receive(t, messages).Ack()
	require.Less(t, time.Since(start), rebalanceTimeout/2)
}

// TestCloseWithoutServer: an outage doesn't keep a service from stopping.
func TestCloseWithoutServer(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	b := open(t, s, Config{})
	require.NoError(t, b.EnsureTopics(t.Context(), "orders"))
	require.NoError(t, b.Publisher().Publish("orders", keyed("id", "key", nil)))
	subscriber, messages := subscribe(t, b, "group", "orders")
	receive(t, messages).Ack()
	end := s.Outage(t)
	defer end()
	start := time.Now()
	require.NoError(t, subscriber.Close())
	require.NoError(t, b.Close())
	require.Less(t, time.Since(start), 15*time.Second)
}
