package sqlqueue

import (
	"context"
	"errors"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// subscriber is a consumer group's member in this process.
type subscriber struct {
	broker *Broker
	group  string

	mu      sync.Mutex
	closed  bool
	closing context.Context // done when Close is called
	close   context.CancelFunc
	open    sync.WaitGroup // subscriptions
}

var _ message.Subscriber = (*subscriber)(nil)

func newSubscriber(b *Broker, group string) *subscriber {
	s := &subscriber{broker: b, group: group}
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// Subscribe implements message.Subscriber. The channel is closed when ctx is
// done or after Close, once the messages in flight have been answered or
// CloseTimeout has passed.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("sqlqueue: the subscriber is closed")
	}
	sub, err := newSubscription(ctx, s.broker, s.group, topic)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(s.closing, sub.stop)
	s.open.Go(func() {
		defer stop()
		sub.run()
	})
	return sub.out, nil
}

// Close implements message.Subscriber.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close()
	s.open.Wait()
	return nil
}
