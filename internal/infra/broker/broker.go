// Package broker is what the service needs of a message broker: Watermill's
// Publisher and Subscriber, and the few things that those two leave out.
//
// Each broker is a package of its own below this one, and the only place that
// imports its client library. All of them pass the suite in brokertest.
package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/database"
)

// Metadata keys that every broker carries from publisher to subscriber.
const (
	// PartitionKey holds the key whose messages stay in order. Messages without
	// one share the empty key.
	PartitionKey = "partitionkey"
	// ContentType holds the payload's media type.
	ContentType = "content-type"
)

// ErrRejected marks a Publish that failed because of the message, not the
// broker: too large, or not acceptable in another way. Trying again without a
// change is pointless.
var ErrRejected = errors.New("the broker rejects the message")

// Broker carries messages from publishers to consumer groups. It is safe for
// concurrent use.
type Broker interface {
	// Publisher returns the one publisher. Its Publish returns nil only when
	// the broker has made all the messages durable, and keeps the order of the
	// messages of one call that share a key. An error that wraps ErrRejected is
	// the message's fault; any other may go away by itself, with any number of
	// the messages published.
	Publisher() message.Publisher

	// Subscriber returns a new subscriber of a consumer group. Every group gets
	// every message at least once; the subscribers of one group share them.
	// With Ordered, a key's next message is delivered only after the previous
	// one was acked, whichever subscriber it goes to. A nacked message is
	// delivered again after a pause and holds back its own key only.
	//
	// A group seen for the first time starts with the oldest message kept.
	// Close waits a while for the messages in flight, and may be called twice.
	Subscriber(group string) (message.Subscriber, error)

	// EnsureTopics creates the topics that don't exist, or says which one is
	// missing where it may not.
	EnsureTopics(ctx context.Context, topics ...string) error

	// Lag counts the messages of the topic that the group has yet to finish.
	Lag(ctx context.Context, group, topic string) (int64, error)

	// Ping returns nil if the broker answers.
	Ping(ctx context.Context) error

	// Abilities says what this broker can do.
	Abilities() Abilities

	// String names the broker and where it is, without secrets.
	String() string

	// Close closes the publisher and what the subscribers share. It may be
	// called twice.
	Close() error
}

// Abilities are the promises that not every broker makes.
type Abilities struct {
	// Ordered: order per key from Publish to ack, through nacks and restarts.
	Ordered bool `json:"ordered"`
	// Durable: a confirmed message survives a restart of the broker.
	Durable bool `json:"durable"`
	// Replayable: a new group gets the messages published before it existed.
	Replayable bool `json:"replayable"`
}

// TxPublisher is implemented by a broker in the service's own database. The
// Forwarder then lets it move rows, whose payloads never leave the database,
// instead of publishing, marking and hoping in between.
type TxPublisher interface {
	// PublishTx appends rows to the topic in tx: they are published once tx has
	// committed. It need not wait for the database. An unknown topic is
	// ErrRejected, found before anything is written.
	PublishTx(ctx context.Context, tx database.Tx, topic string, rows Rows) error
}

// Rows are messages that are in the database already.
type Rows struct {
	// Query yields them with the columns id (in the order of which they are
	// appended), key_hash, partition_key, message_id, metadata (as by Headers) and payload. It is
	// run once, as a common table expression: a SELECT, or on PostgreSQL also a
	// DELETE … RETURNING. Its parameters are numbered from $1.
	Query string
	Args  []any
	// KeyHashes are the Hash of each row's key, for what has to be known before
	// the rows are read.
	KeyHashes []uint32
}

// Headers are a message's key and its other metadata as a JSON object, for a
// table: the key has a column of its own. A HeaderReader puts the two together.
func Headers(m *message.Message) (key, metadata string, err error) {
	others := m.Metadata
	if key = m.Metadata.Get(PartitionKey); key != "" {
		others = maps.Clone(m.Metadata)
		delete(others, PartitionKey)
	}
	encoded, err := json.Marshal(others)
	return key, string(encoded), err
}

// HeaderReader gives messages the headers that Headers has made columns of.
// Without their keys, most messages have the same: those are decoded once. It
// belongs to one goroutine.
type HeaderReader struct {
	metadata string
	decoded  message.Metadata
}

// Read adds the headers to the message.
func (r *HeaderReader) Read(m *message.Message, key, metadata string) error {
	if metadata != r.metadata {
		decoded := message.Metadata{}
		if err := json.Unmarshal([]byte(metadata), &decoded); err != nil {
			return fmt.Errorf("decode metadata: %w", err)
		}
		r.metadata, r.decoded = metadata, decoded
	}
	maps.Copy(m.Metadata, r.decoded)
	if key != "" {
		m.Metadata.Set(PartitionKey, key)
	}
	return nil
}

// Hash maps a key to a number, the same in every process and build: 32-bit
// FNV-1a.
func Hash(key string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return h.Sum32()
}

// Partition maps a key to one of n partitions by its Hash.
func Partition(key string, n int) int { return int(Hash(key) % uint32(n)) }
