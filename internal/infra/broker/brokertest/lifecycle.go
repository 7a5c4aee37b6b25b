package brokertest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker"
)

// testClose: everything may be closed twice, in any order, and says so when it
// is used afterwards.
func testClose(t *testing.T, s suite) {
	b := s.Open(t)
	topic, group := newTopic(t, b)
	require.NoError(t, b.Ping(t.Context()))
	require.NotEmpty(t, b.String())

	subscriber, err := b.Subscriber(group)
	require.NoError(t, err)
	messages, err := subscriber.Subscribe(t.Context(), topic)
	require.NoError(t, err)
	idle, err := b.Subscriber(group)
	require.NoError(t, err)

	require.NoError(t, subscriber.Close())
	_, open := <-messages
	require.False(t, open, "a message came after Close")
	require.NoError(t, subscriber.Close())
	require.NoError(t, idle.Close())
	_, err = subscriber.Subscribe(t.Context(), topic)
	require.Error(t, err)

	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.Error(t, b.Publisher().Publish(topic, newMessage("key", 0)))
	require.NoError(t, b.Publisher().Close())
}

// testCloseWaits: a message in flight can still be acked while the subscriber
// closes, and that ack counts.
func testCloseWaits(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	inFlight, finish := make(chan struct{}), make(chan struct{})
	var cancelled atomic.Bool
	running := consume(t, b, group, topic, func(msg *message.Message) {
		close(inFlight)
		<-finish
		cancelled.Store(msg.Context().Err() != nil)
		msg.Ack()
	})
	require.NoError(t, b.Publisher().Publish(topic, newMessage("key", 0)))
	<-inFlight
	closed := make(chan error)
	go func() { closed <- running.subscriber.Close() }()
	select {
	case <-closed:
		require.Fail(t, "Close doesn't wait for the message in flight")
	case <-time.After(100 * time.Millisecond):
	}
	close(finish)
	require.NoError(t, <-closed)
	require.False(t, cancelled.Load(), "Close cancelled the message in flight")
	waitForLag(t, b, group, topic, 0) // the ack given while closing has counted
}

// testSubscriptionEndsWithContext: and the subscriber can subscribe again.
func testSubscriptionEndsWithContext(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	subscriber, err := b.Subscriber(group)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, subscriber.Close()) })
	want := newMessage("key", 0)
	require.NoError(t, b.Publisher().Publish(topic, want))
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		messages, err := subscriber.Subscribe(ctx, topic)
		require.NoError(t, err)
		select {
		case msg := <-messages:
			require.Equal(t, want.UUID, msg.UUID)
			msg.Nack()
		case <-time.After(patience):
			require.Fail(t, "no message")
		}
		cancel()
		for msg := range messages { // until it is closed
			msg.Nack()
		}
	}
}

// producing publishes numbered messages, each of a key of its own, until it is
// stopped.
type producing struct {
	mu        sync.Mutex
	confirmed []*message.Message
	failed    int
	stop      chan struct{}
	done      sync.WaitGroup
}

func produce(t *testing.T, b broker.Broker, topic string) *producing {
	p := &producing{stop: make(chan struct{})}
	const lanes = 4
	for lane := range lanes {
		p.done.Go(func() {
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			for i := 0; ; i++ {
				select {
				case <-p.stop:
					return
				case <-pace.C:
				}
				msg := newMessage(fmt.Sprintf("%d-%d", lane, i), 0)
				err := b.Publisher().Publish(topic, msg)
				p.mu.Lock()
				if err == nil {
					p.confirmed = append(p.confirmed, msg)
				} else {
					p.failed++
				}
				p.mu.Unlock()
			}
		})
	}
	t.Cleanup(p.close)
	return p
}

func (p *producing) counts() (confirmed, failed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.confirmed), p.failed
}

// waitForMore waits until n more messages are confirmed.
func (p *producing) waitForMore(t *testing.T, n int) {
	t.Helper()
	before, _ := p.counts()
	eventually(t, func() bool { now, _ := p.counts(); return now >= before+n }, "publishing doesn't go on")
}

// close may be called twice.
func (p *producing) close() {
	p.mu.Lock()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.mu.Unlock()
	p.done.Wait()
}

// requireNothingLost waits until all that was confirmed has been acked. What
// failed may have arrived as well.
func (p *producing) requireNothingLost(t *testing.T, got *ledger) {
	t.Helper()
	p.close()
	for _, msg := range p.confirmed {
		eventually(t, func() bool { return got.has(msg.UUID) }, "a confirmed message was lost")
	}
}

// testOutage: the server is gone while messages are published and consumed.
// What was confirmed arrives, and everything goes on by itself afterwards.
func testOutage(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	got := newLedger()
	consume(t, b, group, topic, got.ack)
	p := produce(t, b, topic)
	p.waitForMore(t, 40)

	ping := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return b.Ping(ctx)
	}
	end := s.Outage(t)
	ended := sync.OnceFunc(end)
	defer ended()
	eventually(t, func() bool { return ping() != nil }, "Ping succeeds although the server is gone")
	// Publish either fails or hangs on; it must not confirm. Long enough for the
	// connections to be given up, then.
	gone := time.Now()
	eventually(t, func() bool {
		_, failed := p.counts()
		return failed >= 4 || time.Since(gone) > 5*time.Second
	}, "")
	ended()

	eventually(t, func() bool { return ping() == nil }, "Ping fails although the server is back")
	p.waitForMore(t, 40)
	p.requireNothingLost(t, got)
}

// testRestart: what was confirmed is still there after the server's restart,
// for the group that was reading and for a new one.
func testRestart(t *testing.T, s suite) {
	b := s.open(t)
	topic, group := newTopic(t, b)
	got := newLedger()
	consume(t, b, group, topic, got.ack)
	p := produce(t, b, topic)
	p.waitForMore(t, 40)
	s.Restart(t)
	p.waitForMore(t, 40)
	p.requireNothingLost(t, got)

	if s.abilities.Replayable {
		later := newLedger()
		consume(t, b, unique("group"), topic, later.ack)
		p.requireNothingLost(t, later)
	}
}
