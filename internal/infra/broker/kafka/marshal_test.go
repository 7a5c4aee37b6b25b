package kafka

import (
	"testing"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker"
)

func header(key, value string) *sarama.RecordHeader {
	return &sarama.RecordHeader{Key: []byte(key), Value: []byte(value)}
}

func TestMarshal(t *testing.T) {
	t.Parallel()
	msg := message.NewMessage("id", []byte(`{}`))
	msg.Metadata = message.Metadata{broker.PartitionKey: "order-1", broker.ContentType: "application/cloudevents+json"}
	record, err := marshaler{maxBytes: 1000}.Marshal("orders", msg)
	require.NoError(t, err)
	require.Equal(t, "orders", record.Topic)
	require.Equal(t, sarama.StringEncoder("order-1"), record.Key)
	require.Equal(t, sarama.ByteEncoder(`{}`), record.Value)
	require.ElementsMatch(t, []sarama.RecordHeader{
		*header("_watermill_message_uuid", "id"),
		*header("partitionkey", "order-1"),
		*header("content-type", "application/cloudevents+json"), // as the CloudEvents Kafka binding has it
	}, record.Headers)

	record, err = marshaler{maxBytes: 1000}.Marshal("orders", message.NewMessage("id", nil))
	require.NoError(t, err)
	require.Equal(t, sarama.StringEncoder(""), record.Key, "no key would spread the messages over the partitions")
	require.Equal(t, sarama.ByteEncoder{}, record.Value, "no value would be a tombstone")
}

func TestMarshalRejects(t *testing.T) {
	t.Parallel()
	reserved := message.NewMessage("id", nil)
	reserved.Metadata.Set("_watermill_message_uuid", "other")
	_, err := marshaler{maxBytes: 1000}.Marshal("orders", reserved)
	require.ErrorIs(t, err, broker.ErrRejected)
	require.EqualError(t, err, "the broker rejects the message: the metadata key _watermill_message_uuid is reserved")

	_, err = marshaler{maxBytes: 1000}.Marshal("orders", message.NewMessage("id", make([]byte, 1000)))
	require.ErrorIs(t, err, broker.ErrRejected)
	require.EqualError(t, err, "the broker rejects the message: it takes 1071 bytes, and MaxMessageBytes is 1000")
}

func TestUnmarshalNeverFails(t *testing.T) {
	t.Parallel()
	record := func(key, value []byte, headers ...*sarama.RecordHeader) *sarama.ConsumerMessage {
		return &sarama.ConsumerMessage{Topic: "orders", Partition: 3, Offset: 42, Key: key, Value: value, Headers: headers}
	}
	for name, test := range map[string]struct {
		record   *sarama.ConsumerMessage
		uuid     string
		payload  []byte
		metadata message.Metadata
	}{
		"nothing at all": {
			record(nil, nil), "orders/3/42", nil, message.Metadata{}},
		"CloudEvents in binary mode": {
			record([]byte("order-1"), []byte(`{}`), header("ce_id", "1"), header("ce_type", "orders.placed"), header("content-type", "application/json")),
			"orders/3/42", []byte(`{}`),
			message.Metadata{"ce_id": "1", "ce_type": "orders.placed", "content-type": "application/json", "partitionkey": "order-1"}},
		"another meaning of partitionkey": {
			record([]byte("real"), nil, header("partitionkey", "other")), "orders/3/42", nil, message.Metadata{"partitionkey": "real"}},
		"empty key": {
			record([]byte{}, nil), "orders/3/42", nil, message.Metadata{"partitionkey": ""}},
		"strange headers": {
			record(nil, nil, nil, &sarama.RecordHeader{}, header("twice", "1"), header("twice", "2"), header("\xff", "\xfe")),
			"orders/3/42", nil, message.Metadata{"": "", "twice": "2", "\xff": "\xfe"}},
		"ours": {
			record([]byte(""), []byte("x"), header("_watermill_message_uuid", "id"), header("a", "b")), "id", []byte("x"), message.Metadata{"a": "b"}},
		"ours without a UUID": {
			record([]byte(""), nil, header("_watermill_message_uuid", "")), "orders/3/42", nil, message.Metadata{}},
	} {
		msg, err := marshaler{}.Unmarshal(test.record)
		require.NoError(t, err, name)
		require.Equal(t, test.uuid, msg.UUID, name)
		require.Equal(t, test.payload, []byte(msg.Payload), name)
		require.Equal(t, test.metadata, msg.Metadata, name)
	}
}
