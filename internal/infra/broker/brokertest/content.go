package brokertest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker"
)

// largest is the size of payload that every broker takes.
const largest = 900 << 10

// contents are messages of all kinds, by what is special about them.
func contents() map[string]*message.Message {
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	random := make([]byte, largest)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
	payload := func(p []byte) *message.Message {
		msg := message.NewMessage(watermill.NewUUID(), p)
		msg.Metadata.Set(broker.PartitionKey, "key")
		return msg
	}
	metadata := func(m message.Metadata) *message.Message {
		msg := payload([]byte("payload"))
		for key, value := range m {
			msg.Metadata.Set(key, value)
		}
		return msg
	}
	bare := message.NewMessage(watermill.NewUUID(), []byte("payload"))
	return map[string]*message.Message{
		"nil payload":      payload(nil),
		"empty payload":    payload([]byte{}),
		"binary payload":   payload(binary),
		"large payload":    payload(random),
		"zeros":            payload(make([]byte, 1000)),
		"no metadata":      bare,
		"content type":     metadata(message.Metadata{broker.ContentType: "application/cloudevents+json; charset=UTF-8"}),
		"empty value":      metadata(message.Metadata{"empty": ""}),
		"lines":            metadata(message.Metadata{"lines": "one\ntwo\r\n\tthree "}),
		"unicode":          metadata(message.Metadata{"ключ": "значение ✓ \U0001F980", "e\u0301": "é"}),
		"cases":            metadata(message.Metadata{"Key": "1", "key": "2", "KEY": "3"}),
		"strange keys":     metadata(message.Metadata{"with space": "a", "with.dot": "b", "with:colon": "c", `"quoted"`: "d", "$1": "e"}),
		"many":             metadata(many(50)),
		"long value":       metadata(message.Metadata{"long": strings.Repeat("x", 4000)}),
		"empty key":        metadata(message.Metadata{broker.PartitionKey: ""}),
		"unicode key":      metadata(message.Metadata{broker.PartitionKey: "ключ/✓"}),
		"key with lines":   metadata(message.Metadata{broker.PartitionKey: "a\nb\tc"}),
		"key with quotes":  metadata(message.Metadata{broker.PartitionKey: `'; DROP TABLE "queue"; --`}),
		"long key":         metadata(message.Metadata{broker.PartitionKey: strings.Repeat("k", 500)}),
		"UUID of any form": message.NewMessage("not a UUID / ✓", []byte("payload")),
	}
}

func many(n int) message.Metadata {
	m := message.Metadata{}
	for _, key := range keyNames(n) {
		m[key] = "value of " + key
	}
	return m
}

// testIntact: UUID, payload and metadata arrive as they were published, nothing
// less and nothing more.
func testIntact(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	var mu sync.Mutex
	got := map[string]*message.Message{}
	consume(t, b, group, topic, func(msg *message.Message) {
		mu.Lock()
		defer mu.Unlock()
		got[msg.UUID] = msg
		msg.Ack()
	})
	published := contents()
	for name, msg := range published {
		require.NoError(t, b.Publisher().Publish(topic, msg), name)
	}
	eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(got) >= len(published) }, "not all messages arrived")
	mu.Lock()
	defer mu.Unlock()
	for name, want := range published {
		msg := got[want.UUID]
		require.NotNil(t, msg, "%s: the UUID changed", name)
		require.True(t, bytes.Equal(want.Payload, msg.Payload), "%s: the payload changed", name)
		require.Equal(t, want.Metadata, msg.Metadata, name)
	}
}

// testTooLarge: a message that can't be accepted is told from a broker that is
// down, and the publisher goes on.
func testTooLarge(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	tooLarge := newMessage("large", 0)
	tooLarge.Payload = make([]byte, s.TooLarge)
	err := b.Publisher().Publish(topic, tooLarge)
	require.ErrorIs(t, err, broker.ErrRejected)

	messages := newMessages([]string{"large", "small"}, 2)
	require.NoError(t, b.Publisher().Publish(topic, messages...))
	got := newLedger()
	consume(t, b, group, topic, got.ack)
	got.waitFor(t, messages)
}

// testLag: it counts what was published and goes to nothing with the acks.
func testLag(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	got := newLedger()
	first := newMessages(keyNames(5), 2)
	if s.abilities.Replayable {
		require.NoError(t, b.Publisher().Publish(topic, first...))
		waitForLag(t, b, group, topic, 10) // the group is not known yet
	}
	running := consume(t, b, group, topic, got.ack)
	if !s.abilities.Replayable {
		require.NoError(t, b.Publisher().Publish(topic, first...))
	}
	got.waitFor(t, first)
	waitForLag(t, b, group, topic, 0)

	running.close(t)
	second := newMessages(keyNames(5), 1)
	require.NoError(t, b.Publisher().Publish(topic, second...))
	waitForLag(t, b, group, topic, 5)
	consume(t, b, group, topic, got.ack)
	got.waitFor(t, append(first, second...))
	waitForLag(t, b, group, topic, 0)
}

// waitForLag waits as acks may count with a delay.
func waitForLag(t *testing.T, b broker.Broker, group, topic string, want int64) {
	t.Helper()
	var lag int64
	eventually(t, func() bool {
		var err error
		lag, err = b.Lag(t.Context(), group, topic)
		require.NoError(t, err)
		return lag == want
	}, "the lag doesn't become %d", want)
}

// testEnsureTopics: it may be called again, by several at once, and leaves a
// topic's messages alone.
func testEnsureTopics(t *testing.T, s suite) {
	first, second := s.open(t), s.open(t)
	topic, other, group := unique("topic"), unique("topic"), unique("group")
	results := make(chan error)
	for _, b := range []broker.Broker{first, second, first, second} {
		go func() { results <- b.EnsureTopics(context.Background(), topic, other) }()
	}
	var err error
	for range 4 {
		err = errors.Join(err, <-results)
	}
	require.NoError(t, err)

	messages := newMessages([]string{"key"}, 1)
	require.NoError(t, first.Publisher().Publish(topic, messages...))
	require.NoError(t, second.EnsureTopics(t.Context(), topic))
	require.NoError(t, second.EnsureTopics(t.Context()))
	got := newLedger()
	consume(t, second, group, topic, got.ack)
	got.waitFor(t, messages)
}
