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

// subscription is one member of a group on one topic: it holds leases on some of
// the topic's partitions and runs a reader for each.
type subscription struct {
	broker *Broker
	logger *slog.Logger
	group  string
	topic  string
	member string
	out    chan *message.Message

	running context.Context // done when no more messages shall be delivered
	stop    context.CancelFunc
	alive   context.Context // of the messages: done when waiting for them is over
	kill    context.CancelFunc

	wanted chan struct{} // a reader asks for more

	mu      sync.Mutex
	readers map[int]*reader
	wg      sync.WaitGroup
}

func newSubscription(ctx context.Context, b *Broker, group, topic string) (*subscription, error) {
	s := &subscription{
		broker: b, group: group, topic: topic, member: uuid.NewString(),
		out:     make(chan *message.Message),
		wanted:  make(chan struct{}, 1),
		readers: map[int]*reader{},
		logger:  b.logger.With("consumer_group", group, "topic", topic),
	}
	err := b.takeOver(ctx)
	if err == nil {
		err = s.join(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("sqlqueue: subscribe %s to %s: %w", group, topic, err)
	}
	s.running, s.stop = context.WithCancel(ctx)
	s.alive, s.kill = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

// join makes the group's cursors if it is new on the topic.
func (s *subscription) join(ctx context.Context) error {
	return s.broker.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		partitions, err := s.broker.partitions(ctx, tx, s.topic)
		if err != nil {
			return err
		}
		if partitions == 0 {
			return fmt.Errorf("%w: topic %q does not exist: is it in the catalog?", broker.ErrRejected, s.topic)
		}
		// In order, so that members that join at once wait for each other instead
		// of deadlocking.
		_, err = tx.ExecContext(ctx, `
			INSERT INTO queue_cursors (consumer_group, topic, partition, next_offset)
			SELECT $1, p.topic, p.partition, COALESCE(
				(SELECT MIN(l."offset") FROM queue_log l WHERE l.topic = p.topic AND l.partition = p.partition), p.next_offset)
			FROM queue_partitions p WHERE p.topic = $2 ORDER BY p.partition
			ON CONFLICT DO NOTHING`, s.group, s.topic)
		return err
	})
}

// run keeps the leases until the subscription is stopped, then drains it.
func (s *subscription) run() {
	defer close(s.out)
	s.broker.watchHeads(s)
	defer s.broker.unwatchHeads(s)
	s.wg.Go(s.fetch)

	balance := time.NewTimer(0)
	defer balance.Stop()
	flush := time.NewTimer(flushPause)
	defer flush.Stop()
	for s.running.Err() == nil {
		select {
		case <-s.running.Done():
		case <-balance.C:
			balance.Reset(s.broker.config.Lease / 3)
			if err := s.balance(s.running); err != nil && s.running.Err() == nil {
				s.logger.WarnContext(s.running, "renewing leases failed", "error", err)
			}
		case <-flush.C:
			pause := flushPause
			if err := s.flush(s.running); err != nil && s.running.Err() == nil {
				pause = s.broker.config.Poll
				s.logger.WarnContext(s.running, "moving cursors failed", "error", err, "retry_in", pause)
			}
			flush.Reset(pause)
		}
	}
	s.drain()
}

// drain waits for the messages in flight, moves the cursors past those that
// were acked and gives the leases back.
func (s *subscription) drain() {
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	renew := time.NewTicker(s.broker.config.Lease / 3)
	defer renew.Stop()
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
		case <-renew.C:
			if err := s.renewOnly(ctx); err != nil {
				s.logger.WarnContext(ctx, "renewing leases failed", "error", err)
			}
		}
	}
	s.kill()
	if err := errors.Join(s.flush(ctx), s.leave(ctx)); err != nil {
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
	err := s.broker.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		return database.Read(ctx, tx, func(scan func(...any) error) error {
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
			RETURNING partition, next_offset`, append([]any{s.group, s.topic, s.member}, args...)...)
	})
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

// fence stops a reader whose lease went to another member.
func (s *subscription) fence(r *reader) {
	select {
	case <-r.finished:
		return // drained: it has given its lease back while this flush or balance was under way
	default:
	}
	s.logger.Warn("lost the lease on a partition", "partition", r.partition)
	s.mu.Lock()
	if s.readers[r.partition] == r {
		delete(s.readers, r.partition)
	}
	s.mu.Unlock()
	r.kill()
}
