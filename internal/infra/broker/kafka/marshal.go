package kafka

import (
	"fmt"

	"github.com/IBM/sarama"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
)

// marshaler turns messages into records and back. Watermill's own neither sets
// the key nor reads the records of other producers as they should be.
type marshaler struct {
	maxBytes int
}

var _ wkafka.MarshalerUnmarshaler = marshaler{}

// uuidHeader carries the message's UUID; a record that has it is one of ours.
const uuidHeader = wkafka.UUIDHeaderKey

// Marshal returns an error that wraps broker.ErrRejected for a message that
// can't be a record.
func (m marshaler) Marshal(topic string, msg *message.Message) (*sarama.ProducerMessage, error) {
	if _, taken := msg.Metadata[uuidHeader]; taken {
		return nil, fmt.Errorf("%w: the metadata key %s is reserved", broker.ErrRejected, uuidHeader)
	}
	headers := make([]sarama.RecordHeader, 0, len(msg.Metadata)+1)
	headers = append(headers, sarama.RecordHeader{Key: []byte(uuidHeader), Value: []byte(msg.UUID)})
	for key, value := range msg.Metadata {
		headers = append(headers, sarama.RecordHeader{Key: []byte(key), Value: []byte(value)})
	}
	payload := msg.Payload
	if payload == nil {
		payload = message.Payload{} // no value at all would delete the key from a compacted topic
	}
	record := &sarama.ProducerMessage{
		Topic:   topic,
		Key:     sarama.StringEncoder(msg.Metadata.Get(broker.PartitionKey)), // the empty key is a key, too
		Value:   sarama.ByteEncoder(payload),
		Headers: headers,
	}
	if size := recordSize(record); size > m.maxBytes {
		return nil, fmt.Errorf("%w: it takes %d bytes, and MaxMessageBytes is %d", broker.ErrRejected, size, m.maxBytes)
	}
	return record, nil
}

// recordSize is an upper bound, as the client counts.
func recordSize(record *sarama.ProducerMessage) int {
	const formatVersion = 2 // records with headers
	return record.ByteSize(formatVersion)
}

// Unmarshal never fails: watermill-kafka gives the partition up on an error,
// without moving the offset, so one record would block it for ever.
func (marshaler) Unmarshal(record *sarama.ConsumerMessage) (*message.Message, error) {
	uuid, ours := "", false
	metadata := make(message.Metadata, len(record.Headers)+1)
	for _, header := range record.Headers {
		if header == nil {
			continue
		}
		if key := string(header.Key); key == uuidHeader {
			uuid, ours = string(header.Value), true
		} else {
			metadata[key] = string(header.Value) // of several with one key the last counts, as in Kafka's own clients
		}
	}
	if !ours && record.Key != nil {
		metadata[broker.PartitionKey] = string(record.Key)
	}
	if uuid == "" {
		uuid = fmt.Sprintf("%s/%d/%d", record.Topic, record.Partition, record.Offset)
	}
	msg := message.NewMessage(uuid, record.Value)
	msg.Metadata = metadata
	return msg, nil
}
