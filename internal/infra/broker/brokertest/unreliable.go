package brokertest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
)

// Unreliable makes a broker do all that a broker may do: every message is
// delivered twice, now one copy after the other and now both at once, and
// messages of different keys change places. What is promised stays: the order of
// a key, and a message is acked only when both copies were.
func Unreliable(seed uint64) func(broker.Broker) broker.Broker {
	return func(b broker.Broker) broker.Broker {
		u := unreliable{Broker: b, seed: seed}
		if tx, ok := b.(broker.TxPublisher); ok {
			return unreliableInTx{u, tx}
		}
		return u
	}
}

type unreliable struct {
	broker.Broker
	seed uint64
}

// unreliableInTx still publishes in the service's own transactions.
type unreliableInTx struct {
	unreliable
	broker.TxPublisher
}

// Subscriber implements broker.Broker.
func (u unreliable) Subscriber(group string) (message.Subscriber, error) {
	inner, err := u.Broker.Subscriber(group)
	return unreliableSubscriber{inner, u.seed}, err
}

type unreliableSubscriber struct {
	message.Subscriber
	seed uint64
}

// Subscribe implements message.Subscriber.
func (s unreliableSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	in, err := s.Subscriber.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	go s.relay(in, out)
	return out, nil
}

// relay gathers what is there and passes it on in any order: the broker never
// has two messages of one key on their way, so keys keep theirs.
func (s unreliableSubscriber) relay(in <-chan *message.Message, out chan<- *message.Message) {
	random := rand.New(rand.NewPCG(s.seed, s.seed))
	var copies sync.WaitGroup
	defer func() {
		copies.Wait()
		close(out)
	}()
	for first := range in {
		gathered := append([]*message.Message{first}, available(in, 16)...)
		random.Shuffle(len(gathered), func(i, j int) { gathered[i], gathered[j] = gathered[j], gathered[i] })
		for _, m := range gathered {
			atOnce := random.IntN(2) == 0
			copies.Go(func() { deliverTwice(m, out, atOnce) })
		}
	}
}

// available takes what comes without waiting, at most so many.
func available(in <-chan *message.Message, most int) (got []*message.Message) {
	for len(got) < most {
		select {
		case m, ok := <-in:
			if !ok {
				return got
			}
			got = append(got, m)
		case <-time.After(time.Millisecond):
			return got
		}
	}
	return got
}

// deliverTwice answers m as its copies were answered.
func deliverTwice(m *message.Message, out chan<- *message.Message, atOnce bool) {
	first, second := m.CopyWithContext(), m.CopyWithContext()
	if !deliver(first, m, out) {
		return
	}
	if !atOnce && !acked(first, m) {
		return
	}
	if !deliver(second, m, out) {
		return
	}
	if acked(first, m) && acked(second, m) {
		m.Ack()
	}
}

func deliver(c, m *message.Message, out chan<- *message.Message) bool {
	select {
	case out <- c:
		return true
	case <-m.Context().Done():
		return false
	}
}

// acked waits for the answer to a copy. If it is no ack, m is nacked.
func acked(c, m *message.Message) bool {
	select {
	case <-c.Acked():
		return true
	case <-c.Nacked():
	case <-m.Context().Done():
	}
	m.Nack()
	return false
}
