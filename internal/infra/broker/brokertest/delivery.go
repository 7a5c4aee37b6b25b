package brokertest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

func testAtLeastOnce(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	got := newLedger()
	consume(t, b, group, topic, got.ack)

	const publishers = 4
	var all []*message.Message
	var publishing sync.WaitGroup
	failures := make(chan error, publishers)
	for p := range publishers {
		messages := newMessages([]string{fmt.Sprintf("a-%d", p), fmt.Sprintf("b-%d", p)}, 25)
		all = append(all, messages...)
		publishing.Go(func() { failures <- publishEach(b.Publisher(), topic, messages) })
	}
	publishing.Wait()
	for range publishers {
		require.NoError(t, <-failures)
	}
	got.waitFor(t, all)
}

// publishEach publishes the messages one call each.
func publishEach(publisher message.Publisher, topic string, messages []*message.Message) error {
	for _, msg := range messages {
		if err := publisher.Publish(topic, msg); err != nil {
			return err
		}
	}
	return nil
}

func testFanOut(t *testing.T, s suite) {
	b := s.open(t)
	topic, _ := newTopic(t, b)
	ledgers := []*ledger{newLedger(), newLedger(), newLedger()}
	for _, l := range ledgers {
		consume(t, b, unique("group"), topic, l.ack)
	}
	messages := newMessages(keyNames(8), 5)
	require.NoError(t, b.Publisher().Publish(topic, messages...))
	for _, l := range ledgers {
		l.waitFor(t, messages)
	}
}

// testCompetition: two instances share a group's messages once both have
// joined, and between them nothing is lost.
func testCompetition(t *testing.T, s suite) {
	first, second := s.open(t), s.open(t)
	topic, group := newTopic(t, first)
	got := newLedger()
	var byFirst, bySecond atomic.Int64
	counting := func(n *atomic.Int64) func(*message.Message) {
		return func(msg *message.Message) {
			n.Add(1)
			got.ack(msg)
		}
	}
	consume(t, first, group, topic, counting(&byFirst))
	consume(t, second, group, topic, counting(&bySecond))

	keys := keyNames(32)
	var all []*message.Message
	for round := 0; ; round++ {
		var messages []*message.Message
		for _, key := range keys {
			messages = append(messages, newMessage(key, round))
		}
		require.NoError(t, first.Publisher().Publish(topic, messages...))
		all = append(all, messages...)
		got.waitFor(t, all)
		if byFirst.Load() > 0 && bySecond.Load() > 0 {
			break
		}
		require.Less(t, round, 10_000, "one instance gets everything: %d and %d", byFirst.Load(), bySecond.Load())
	}
}

func testOldMessages(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	messages := newMessages(keyNames(4), 5)
	require.NoError(t, b.Publisher().Publish(topic, messages...))
	first := newLedger()
	consume(t, b, group, topic, first.ack)
	first.waitFor(t, messages)

	second := newLedger()
	consume(t, b, unique("group"), topic, second.ack)
	second.waitFor(t, messages)
}

// testRedeliveryAfterClose: what a subscriber had received and not acked when
// it closed goes to the next one.
func testRedeliveryAfterClose(t *testing.T, s suite) {
	first := s.open(t)
	topic, group := newTopic(t, first)
	held := make(chan struct{}, 100)
	hold := consume(t, first, group, topic, func(msg *message.Message) {
		held <- struct{}{}
		<-msg.Context().Done()
	})
	messages := newMessages(keyNames(4), 2)
	require.NoError(t, first.Publisher().Publish(topic, messages...))
	<-held
	hold.close(t)
	require.NoError(t, first.Close())

	got := newLedger()
	consume(t, s.open(t), group, topic, got.ack)
	got.waitFor(t, messages)
}

// testNack: a nacked message comes again, with the same content, until acked.
func testNack(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	messages := newMessages([]string{"key"}, 2)
	const nacks = 3
	got := newLedger()
	var changed atomic.Pointer[message.Message]
	consume(t, b, group, topic, func(msg *message.Message) {
		_, seq := position(msg)
		if !msg.Equals(messages[seq]) {
			changed.Store(msg)
		}
		if got.deliver(msg) < nacks {
			msg.Nack()
			return
		}
		got.finish(msg)
	})
	require.NoError(t, b.Publisher().Publish(topic, messages...))
	got.waitFor(t, messages)
	require.Nil(t, changed.Load(), "a redelivered message differs from the published one")
}

// testNackHoldsBackItsKeyOnly: while one key's message is nacked again and
// again, the messages of all other keys are handled.
func testNackHoldsBackItsKeyOnly(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	got := newLedger()
	var recovered atomic.Bool
	consume(t, b, group, topic, func(msg *message.Message) {
		if key, _ := position(msg); key == "bad" && !recovered.Load() {
			msg.Nack()
			return
		}
		got.ack(msg)
	})
	bad, others := newMessages([]string{"bad"}, 3), newMessages(keyNames(100), 2)
	require.NoError(t, b.Publisher().Publish(topic, bad...))
	require.NoError(t, b.Publisher().Publish(topic, others...))
	got.waitFor(t, others)
	recovered.Store(true)
	got.waitFor(t, append(bad, others...))
}
