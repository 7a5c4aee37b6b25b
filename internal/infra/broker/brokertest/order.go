package brokertest

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

// jitter makes handlers take differently long, so that what isn't held in order
// shows.
func jitter() { time.Sleep(rand.N(2 * time.Millisecond)) }

// testOrderPerKey: many keys published at the same time, several messages a
// call, and slow handlers.
func testOrderPerKey(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	got := newLedger()
	consume(t, b, group, topic, func(msg *message.Message) {
		got.deliver(msg)
		jitter()
		got.finish(msg)
	})
	const publishers = 4
	keys := keyNames(20)
	failures := make(chan error, publishers)
	var all []*message.Message
	for p := range publishers {
		own := newMessages(keys[p*5:p*5+5], 20)
		all = append(all, own...)
		go func() {
			for ; len(own) > 0; own = own[10:] {
				if err := b.Publisher().Publish(topic, own[:10]...); err != nil {
					failures <- err
					return
				}
			}
			failures <- nil
		}()
	}
	for range publishers {
		require.NoError(t, <-failures)
	}
	got.waitFor(t, all)
	got.requireOrder(t)
}

func testOrderThroughNacks(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	got := newLedger()
	consume(t, b, group, topic, func(msg *message.Message) {
		before := got.deliver(msg)
		jitter()
		if _, seq := position(msg); seq%3 == 1 && before == 0 {
			msg.Nack()
			return
		}
		got.finish(msg)
	})
	messages := newMessages(keyNames(8), 9)
	require.NoError(t, b.Publisher().Publish(topic, messages...))
	got.waitFor(t, messages)
	got.requireOrder(t)
}

// testOrderThroughRestart: an instance closes in the middle, with messages in
// flight that it never acks, and another one goes on.
func testOrderThroughRestart(t *testing.T, s suite) {
	first := s.open(t)
	topic, group := newTopic(t, first)
	got := newLedger()
	var stuck atomic.Int64
	half := consume(t, first, group, topic, func(msg *message.Message) {
		got.deliver(msg)
		if _, seq := position(msg); seq == 5 {
			stuck.Add(1)
			<-msg.Context().Done()
			return
		}
		jitter()
		got.finish(msg)
	})
	messages := newMessages(keyNames(8), 10)
	require.NoError(t, first.Publisher().Publish(topic, messages...))
	eventually(t, func() bool { return stuck.Load() > 0 }, "no message came as far as its turn")
	half.close(t)
	require.NoError(t, first.Close())
	require.Less(t, got.count(), len(messages))

	consume(t, s.open(t), group, topic, got.ack)
	got.waitFor(t, messages)
	got.requireOrder(t)
}

// testOrderThroughRebalance: a second instance joins while messages are in
// flight, some of them being nacked; then the first one leaves.
func testOrderThroughRebalance(t *testing.T, s suite) {
	first, second := s.open(t), s.open(t)
	topic, group := newTopic(t, first)
	got := newLedger()
	var bySecond atomic.Int64
	handle := func(msg *message.Message) {
		before := got.deliver(msg)
		jitter()
		if _, seq := position(msg); seq%10 == 7 && before == 0 {
			msg.Nack()
			return
		}
		got.finish(msg)
	}
	leaving := consume(t, first, group, topic, handle)

	keys := keyNames(16)
	var all []*message.Message
	round := 0
	publish := func() {
		t.Helper()
		var messages []*message.Message
		for _, key := range keys {
			messages = append(messages, newMessage(key, round))
		}
		round++
		require.NoError(t, second.Publisher().Publish(topic, messages...))
		all = append(all, messages...)
	}
	for range 10 {
		publish()
	}
	consume(t, second, group, topic, func(msg *message.Message) {
		bySecond.Add(1)
		handle(msg)
	})
	eventually(t, func() bool {
		if len(all)-got.count() < 100 { // enough to have some in flight
			publish()
		}
		return bySecond.Load() > 20
	}, "the second instance gets nothing")
	leaving.close(t)
	require.NoError(t, first.Close())
	for range 5 {
		publish()
	}
	got.waitFor(t, all)
	got.requireOrder(t)
}
