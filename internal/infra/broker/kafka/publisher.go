package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
)

// publisher makes watermill-kafka's safe to close while publishing (its closed
// flag is not guarded, and sending after closing panics) and tells the
// message's faults from the broker's.
type publisher struct {
	stock      *wkafka.Publisher
	topicLimit func(ctx context.Context, topic string) (int, error)

	mu     sync.RWMutex // held for reading while publishing
	closed bool
}

var _ message.Publisher = (*publisher)(nil)

// Publish sends the messages one after another and stops at the first that
// fails. Calls from several goroutines share round trips.
func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	for _, msg := range messages {
		if err := p.publish(topic, msg); err != nil {
			return fmt.Errorf("kafka: publish to %s: %w", topic, err)
		}
	}
	return nil
}

func (p *publisher) publish(topic string, msg *message.Message) error {
	p.mu.RLock()
	err := p.send(topic, msg)
	p.mu.RUnlock()
	if !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		return err
	}
	// Kafka refuses a batch as a whole, and the others in it are innocent:
	// which one is to blame shows when each is sent alone.
	p.mu.Lock()
	err = p.send(topic, msg)
	p.mu.Unlock()
	if !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", p.tooLarge(topic, msg), err)
}

// send publishes one message. The caller holds mu.
func (p *publisher) send(topic string, msg *message.Message) error {
	if p.closed {
		return errors.New("the publisher is closed")
	}
	err := p.stock.Publish(topic, msg)
	for _, fault := range []error{sarama.ErrInvalidRecord, sarama.ErrInvalidMessage, sarama.ErrInvalidTopic} {
		if errors.Is(err, fault) {
			return fmt.Errorf("%w: %w", broker.ErrRejected, err)
		}
	}
	return err
}

func (p *publisher) tooLarge(topic string, msg *message.Message) error {
	size := 0
	if record, err := (marshaler{maxBytes: int(sarama.MaxRequestSize)}).Marshal(topic, msg); err == nil {
		size = recordSize(record)
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	limit, err := p.topicLimit(ctx, topic)
	if err != nil {
		return fmt.Errorf("%w: it takes %d bytes, and the topic's max.message.bytes is less (and can't be read: %w)", broker.ErrRejected, size, err)
	}
	return fmt.Errorf("%w: it takes %d bytes, and the topic's max.message.bytes is %d", broker.ErrRejected, size, limit)
}

// Close waits for what is being published. It may be called twice.
func (p *publisher) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if err := p.stock.Close(); err != nil {
		return fmt.Errorf("kafka: close publisher: %w", err)
	}
	return nil
}
