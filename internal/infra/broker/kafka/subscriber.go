package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
)

// nackPause is how long a nacked message waits before it is delivered again.
const nackPause = 100 * time.Millisecond

// subscriber is a member of a consumer group. Each Subscribe has a
// watermill-kafka subscriber of its own, and a relay in front of it.
type subscriber struct {
	broker *Broker
	group  string

	mu     sync.Mutex
	closed bool
	stop   chan struct{} // closed by Close
	relays sync.WaitGroup
}

var _ message.Subscriber = (*subscriber)(nil)

func newSubscriber(b *Broker, group string) *subscriber {
	return &subscriber{broker: b, group: group, stop: make(chan struct{})}
}

// Subscribe delivers the topic's messages, one a partition at a time, until ctx
// ends or the subscriber is closed. Either way no more are delivered, those in
// flight have the broker's CloseTimeout to be acked, and only then are their
// contexts cancelled and the channel closed.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("kafka: subscribe: the subscriber is closed")
	}
	claims := &claims{sessions: make(map[int32]<-chan struct{})}
	stock, err := wkafka.NewSubscriber(wkafka.SubscriberConfig{
		Brokers:               s.broker.brokers,
		Unmarshaler:           marshaler{},
		OverwriteSaramaConfig: consumerConfig(),
		ConsumerGroup:         s.group,
		NackResendSleep:       nackPause,
		Tracer:                claims,
	}, s.broker.logger)
	if err != nil {
		return nil, fmt.Errorf("kafka: subscribe: %w", err)
	}
	stockCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	in, err := stock.Subscribe(stockCtx, topic)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("kafka: subscribe to %s: %w", topic, errors.Join(err, stock.Close()))
	}
	r := &relay{
		claims: claims,
		in:     in,
		out:    make(chan *message.Message),
		stop:   make(chan struct{}),
		close: func() {
			cancel()
			_ = stock.Close() // it has no error to return: what goes wrong it logs
		},
	}
	s.relays.Go(func() { r.run(ctx.Done(), s.stop, s.broker.config.CloseTimeout) })
	return r.out, nil
}

// Close ends all subscriptions, see Subscribe. It may be called twice.
func (s *subscriber) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	s.mu.Unlock()
	s.relays.Wait()
	return nil
}

// relay stands between watermill-kafka's subscriber and the consumer, to make
// up for two things that the former does: when it closes it drops the messages
// in flight, and with them acks that have been given; and it goes on
// redelivering a nacked message after the group has begun to rebalance, which
// holds the whole group up until this member is thrown out of it.
type relay struct {
	claims *claims
	in     <-chan *message.Message
	out    chan *message.Message
	stop   chan struct{} // closed when nothing more is to be delivered
	close  func()        // closes watermill-kafka's subscriber

	inFlight sync.WaitGroup
}

func (r *relay) run(cancelled, closed <-chan struct{}, timeout time.Duration) {
	r.receive(cancelled, closed)
	close(r.stop)
	done := make(chan struct{})
	go func() { r.inFlight.Wait(); close(done) }()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	r.close() // cancels the contexts of what is still in flight
	<-done
	close(r.out)
}

func (r *relay) receive(cancelled, closed <-chan struct{}) {
	for {
		select {
		case msg, ok := <-r.in:
			if !ok {
				return
			}
			r.inFlight.Go(func() { r.deliver(msg) })
		case <-cancelled:
			return
		case <-closed:
			return
		}
	}
}

// deliver hands a copy of msg out and its answer back. A message left without
// an answer is delivered again later, to whoever then has the partition.
func (r *relay) deliver(msg *message.Message) {
	ctx := msg.Context() // ends when watermill-kafka is done with the message
	rebalance := r.claims.session(ctx)
	out := msg.Copy()
	out.SetContext(ctx)
	select {
	case <-r.stop:
		return
	case <-rebalance:
		letGo(msg)
		return
	default:
	}
	select {
	case r.out <- out:
	case <-r.stop:
		return
	case <-rebalance:
		letGo(msg)
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-out.Acked():
		msg.Ack()
		<-ctx.Done() // until the offset is marked, this one is in flight
	case <-out.Nacked():
		msg.Nack() // it comes through here again, after nackPause
	case <-ctx.Done():
	}
}

// letGo makes watermill-kafka give the message up: after the end of the session
// it doesn't move the offset for an ack.
func letGo(msg *message.Message) { msg.Ack() }

// claims knows the session of each partition. It is a tracer because that is
// where watermill-kafka lets one see them.
type claims struct {
	mu       sync.Mutex
	sessions map[int32]<-chan struct{} // closed when the session ends
}

var _ wkafka.SaramaTracer = (*claims)(nil)

// session returns what is closed when the group rebalances: the session's end.
func (c *claims) session(msg context.Context) <-chan struct{} {
	partition, _ := wkafka.MessagePartitionFromCtx(msg)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[partition]
}

func (c *claims) WrapConsumerGroupHandler(h sarama.ConsumerGroupHandler) sarama.ConsumerGroupHandler {
	return claimHandler{ConsumerGroupHandler: h, claims: c}
}

func (c *claims) WrapConsumer(consumer sarama.Consumer) sarama.Consumer { return consumer }

func (c *claims) WrapPartitionConsumer(consumer sarama.PartitionConsumer) sarama.PartitionConsumer {
	return consumer
}

func (c *claims) WrapSyncProducer(_ *sarama.Config, producer sarama.SyncProducer) sarama.SyncProducer {
	return producer
}

type claimHandler struct {
	sarama.ConsumerGroupHandler
	claims *claims
}

func (h claimHandler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	h.claims.mu.Lock()
	h.claims.sessions[claim.Partition()] = session.Context().Done()
	h.claims.mu.Unlock()
	return h.ConsumerGroupHandler.ConsumeClaim(session, claim)
}
