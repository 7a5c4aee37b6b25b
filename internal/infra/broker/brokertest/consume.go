package brokertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker"
)

// seqKey is the metadata that numbers a key's messages, from 0.
const seqKey = "seq"

// newMessage is the message number seq of the key.
func newMessage(key string, seq int) *message.Message {
	msg := message.NewMessage(watermill.NewUUID(), fmt.Appendf(nil, `{"key":%q,"seq":%d}`, key, seq))
	msg.Metadata.Set(broker.PartitionKey, key)
	msg.Metadata.Set(seqKey, strconv.Itoa(seq))
	return msg
}

// newMessages has the messages 0 to n-1 of each key, the keys interleaved.
func newMessages(keys []string, n int) []*message.Message {
	var messages []*message.Message
	for seq := range n {
		for _, key := range keys {
			messages = append(messages, newMessage(key, seq))
		}
	}
	return messages
}

func keyNames(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%d", i)
	}
	return keys
}

// consumption is a running subscription. Each message is handled in a goroutine
// of its own, as by Watermill's router.
type consumption struct {
	subscriber message.Subscriber
	handlers   sync.WaitGroup
}

// consume subscribes until close or the end of the test.
func consume(t *testing.T, b broker.Broker, group, topic string, handle func(*message.Message)) *consumption {
	t.Helper()
	subscriber, err := b.Subscriber(group)
	require.NoError(t, err)
	c := &consumption{subscriber: subscriber}
	t.Cleanup(func() { c.close(t) })
	messages, err := subscriber.Subscribe(context.Background(), topic)
	require.NoError(t, err)
	c.handlers.Go(func() {
		for msg := range messages {
			c.handlers.Go(func() { handle(msg) })
		}
	})
	return c
}

// close may be called twice.
func (c *consumption) close(t *testing.T) {
	t.Helper()
	require.NoError(t, c.subscriber.Close())
	c.handlers.Wait()
}

// ledger writes down what is delivered and acked, and finds what is lost or out
// of order, over all instances of one group.
type ledger struct {
	mu         sync.Mutex
	acked      map[string]bool // by UUID
	deliveries map[string]int  // by UUID
	done       map[string]int  // by key: how many, from 0 on, are acked without a gap
	disorder   []string
}

func newLedger() *ledger {
	return &ledger{acked: map[string]bool{}, deliveries: map[string]int{}, done: map[string]int{}}
}

// ack is a handler that acks at once.
func (l *ledger) ack(msg *message.Message) {
	l.deliver(msg)
	l.finish(msg)
}

// deliver notes a delivery and returns the number of those before. With order,
// everything before it in its key must have been acked.
func (l *ledger) deliver(msg *message.Message) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.deliveries[msg.UUID]
	l.deliveries[msg.UUID]++
	key, seq := position(msg)
	if seq > l.done[key] {
		l.disorder = append(l.disorder, fmt.Sprintf("%s: %d was delivered before %d was acked", key, seq, l.done[key]))
	}
	return before
}

// finish notes the ack before it gives it, as the next delivery may follow at
// once.
func (l *ledger) finish(msg *message.Message) {
	l.mu.Lock()
	key, seq := position(msg)
	if seq == l.done[key] {
		l.done[key]++
	}
	l.acked[msg.UUID] = true
	l.mu.Unlock()
	msg.Ack()
}

func position(msg *message.Message) (key string, seq int) {
	seq, _ = strconv.Atoi(msg.Metadata.Get(seqKey))
	return msg.Metadata.Get(broker.PartitionKey), seq
}

// count is the number of different messages acked.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// has reports whether the message was acked.
func (l *ledger) has(uuid string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked[uuid]
}

// waitFor waits until the messages have all been acked, and requires that there
// were no others.
func (l *ledger) waitFor(t *testing.T, messages []*message.Message) {
	t.Helper()
	eventually(t, func() bool { return l.count() >= len(messages) }, "not all of %d messages arrived", len(messages))
	l.mu.Lock()
	defer l.mu.Unlock()
	want := make([]string, len(messages))
	for i, msg := range messages {
		want[i] = msg.UUID
	}
	require.ElementsMatch(t, want, slices.Collect(maps.Keys(l.acked)))
}

// requireOrder requires that no message came before its turn.
func (l *ledger) requireOrder(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(t, l.disorder)
}
