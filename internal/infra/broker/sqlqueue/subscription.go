package sqlqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// flushPause is how long acks are gathered before the cursors move. A crash
// within it costs redeliveries, which the inbox drops.
const flushPause = 100 * time.Millisecond

// subscription is a share of a group's work on one topic: it holds leases on some
// of the topic's partitions and runs a reader for each.
type subscription struct {
	broker     *Broker
	logger     *slog.Logger
	id         string // the owner of its cursors
	group      string
	topic      string
	partitions int
	out        chan *message.Message

	running context.Context // done when no more messages shall be delivered
	stop    context.CancelFunc
	alive   context.Context // of the messages: done when waiting for them is over
	kill    context.CancelFunc

	wanted chan struct{} // a reader asks for more
	acked  chan struct{} // a cursor may be moved

	mu       sync.Mutex
	readers  map[int]*reader
	draining bool           // no more readers shall be started
	wg       sync.WaitGroup // of the readers and those who wait for them
}

func newSubscription(ctx context.Context, b *Broker, group, topic string) (*subscription, error) {
	s := &subscription{
		broker: b, id: uuid.NewString(), group: group, topic: topic,
		out:     make(chan *message.Message),
		wanted:  make(chan struct{}, 1),
		acked:   make(chan struct{}, 1),
		readers: map[int]*reader{},
		logger:  b.logger.With("consumer_group", group, "topic", topic),
	}
	s.running, s.stop = context.WithCancel(ctx)
	s.alive, s.kill = context.WithCancel(context.WithoutCancel(ctx))
	err := b.takeOver(ctx)
	if err == nil {
		s.partitions, err = b.ensureCursors(ctx, group, topic)
	}
	if err == nil {
		err = b.join(ctx, s)
	}
	if err != nil {
		s.stop()
		s.kill()
		return nil, fmt.Errorf("sqlqueue: subscribe %s to %s: %w", group, topic, err)
	}
	return s, nil
}

// ensureCursors makes the group's cursors if it is new on the topic, and returns
// how many there are.
func (b *Broker) ensureCursors(ctx context.Context, group, topic string) (partitions int, err error) {
	err = b.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		if partitions, err = b.partitions(ctx, tx, topic); err != nil {
			return err
		}
		if partitions == 0 {
			return fmt.Errorf("%w: topic %q does not exist: is it in the catalog?", broker.ErrRejected, topic)
		}
		// In order, so that members that join at once wait for each other instead
		// of deadlocking.
		_, err := tx.ExecContext(ctx, `
			INSERT INTO queue_cursors (consumer_group, topic, partition, next_offset)
			SELECT $1, p.topic, p.partition, COALESCE(
				(SELECT MIN(l."offset") FROM queue_log l WHERE l.topic = p.topic AND l.partition = p.partition), p.next_offset)
			FROM queue_partitions p WHERE p.topic = $2 ORDER BY p.partition
			ON CONFLICT DO NOTHING`, group, topic)
		return err
	})
	return partitions, err
}

// run delivers until the subscription is stopped, then drains it. Meanwhile the
// broker keeps its leases.
func (s *subscription) run() {
	defer close(s.out)
	s.wg.Go(s.fetch)
	for s.running.Err() == nil {
		select {
		case <-s.running.Done():
			continue
		case <-s.acked:
		}
		s.pause(flushPause)
		if err := s.flush(s.running); err != nil && s.running.Err() == nil {
			s.logger.WarnContext(s.running, "moving cursors failed", "error", err, "retry_in", s.broker.config.Poll)
			s.pause(s.broker.config.Poll)
			poke(s.acked)
		}
	}
	s.drain()
}

func (s *subscription) pause(d time.Duration) {
	select {
	case <-s.running.Done():
	case <-time.After(d):
	}
}

// drain waits for the messages in flight, moves the cursors past those that
// were acked and gives the leases back.
func (s *subscription) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	flush := time.NewTicker(s.broker.config.Lease / 3)
	defer flush.Stop()
	timeout := time.NewTimer(s.broker.config.CloseTimeout)
	defer timeout.Stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.running), s.broker.config.CloseTimeout+s.broker.config.Lease)
	defer cancel()
waiting:
	for {
		select {
		case <-done:
			break waiting
		case <-timeout.C:
			s.kill()
			<-done
			break waiting
		case <-flush.C:
			if err := s.flush(ctx); err != nil {
				s.logger.WarnContext(ctx, "moving cursors failed", "error", err)
			}
		}
	}
	s.kill()
	if err := errors.Join(s.flush(ctx), s.broker.leave(ctx, s)); err != nil {
		s.logger.WarnContext(ctx, "giving leases back failed, they run out by themselves and some messages are delivered again", "error", err)
	}
}

// setHead tells the partition's reader how far the log reaches.
func (s *subscription) setHead(partition int, next int64) {
	s.mu.Lock()
	r := s.readers[partition]
	s.mu.Unlock()
	if r != nil {
		r.setHead(next)
	}
}

// flush moves the cursors past what is done. A cursor that doesn't move belongs
// to another member by now: its reader stops.
func (s *subscription) flush(ctx context.Context) error {
	var moved []*reader
	var partitions, epochs, offsets []int64
	s.mu.Lock()
	for _, r := range s.readers {
		if done, dirty := r.done(); dirty {
			moved = append(moved, r)
			partitions, epochs, offsets = append(partitions, int64(r.partition)), append(epochs, r.epoch), append(offsets, done)
		}
	}
	s.mu.Unlock()
	if len(moved) == 0 {
		return nil
	}
	still := map[int]int64{}
	values, args := s.broker.db.Rows(4, database.Integers("part", partitions), database.Integers("epoch", epochs), database.Integers("done", offsets))
	err := s.broker.write(ctx, func(scan func(...any) error) error {
		var partition int
		var offset int64
		if err := scan(&partition, &offset); err != nil {
			return err
		}
		still[partition] = offset
		return nil
	}, `
		UPDATE queue_cursors AS c SET next_offset = v.done FROM (`+values+`) AS v
		WHERE c.consumer_group = $1 AND c.topic = $2 AND c.owner = $3 AND c.partition = v.part AND c.epoch = v.epoch
		RETURNING partition, next_offset`, append([]any{s.group, s.topic, s.id}, args...)...)
	if err != nil {
		return err
	}
	for _, r := range moved {
		if offset, ok := still[r.partition]; ok {
			r.flushed(offset)
		} else {
			s.fence(r)
		}
	}
	return nil
}
