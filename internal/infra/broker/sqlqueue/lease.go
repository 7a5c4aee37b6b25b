package sqlqueue

import (
	"context"
	"errors"
	"fmt"

	"example.com/millwright/internal/infra/database"
)

// lease is a partition that a subscription holds.
type lease struct {
	partition  int
	epoch      int64
	nextOffset int64 // of the cursor, when it is taken
	head       int64 // of the log, when it is renewed
}

// balance stops the readers of partitions that were lost, takes what is free up
// to this subscription's share, and starts to hand over what is above it. Without
// a view everything is lost. Between balances a reader goes on: a lease lost
// meanwhile shows when its cursor won't move.
func (s *subscription) balance(ctx context.Context, v *view) error {
	if v == nil {
		v = &view{}
	}
	held, stray := s.compare(v.held)
	for _, l := range stray {
		if err := s.release(ctx, l.partition, l.epoch); err != nil {
			return fmt.Errorf("give back partition %d: %w", l.partition, err)
		}
	}
	if v.members == 0 {
		return nil
	}
	share := (s.partitions + v.members - 1) / v.members
	if most := min(share-held, v.free); most > 0 {
		taken, err := s.take(ctx, most)
		if err != nil {
			return fmt.Errorf("take leases: %w", err)
		}
		if s.start(taken) {
			s.logger.DebugContext(ctx, "took partitions", "count", len(taken), "share", share)
			poke(s.broker.heads)
		}
	}
	s.handOver(held - share)
	return nil
}

// compare fences the readers whose lease is gone and tells the others how far the
// log reaches. It returns how many readers there are now, and the leases that
// have none: their reader has ended, and they could not be given back then.
func (s *subscription) compare(held []lease) (readers int, stray []lease) {
	var lost []*reader
	s.mu.Lock()
	leases := make(map[int]lease, len(held))
	for _, l := range held {
		leases[l.partition] = l
	}
	for _, r := range s.readers {
		if l, ok := leases[r.partition]; ok && l.epoch == r.epoch {
			r.setHead(l.head)
			delete(leases, r.partition)
		} else {
			lost = append(lost, r)
		}
	}
	readers = len(s.readers) - len(lost)
	s.mu.Unlock()
	for _, r := range lost {
		s.fence(r)
	}
	for _, l := range leases {
		stray = append(stray, l)
	}
	return readers, stray
}

func (s *subscription) take(ctx context.Context, most int) (map[int]lease, error) {
	lock := ""
	if s.broker.db.Dialect() == database.Postgres {
		lock = "FOR UPDATE SKIP LOCKED"
	}
	taken := map[int]lease{}
	err := s.broker.write(ctx, func(scan func(...any) error) error {
		var l lease
		err := scan(&l.partition, &l.epoch, &l.nextOffset)
		taken[l.partition] = l
		return err
	}, `
		UPDATE queue_cursors SET owner = $3, epoch = epoch + 1
		WHERE consumer_group = $1 AND topic = $2 AND partition IN (
			SELECT c.partition FROM queue_cursors c WHERE c.consumer_group = $1 AND c.topic = $2 AND `+free+`
			ORDER BY c.partition LIMIT $4 `+lock+`)
		RETURNING partition, epoch, next_offset`, s.group, s.topic, s.id, most)
	return taken, err
}

// start starts readers for the leases, and reports whether there are any. A
// subscription that drains needs none: it is about to give everything back.
func (s *subscription) start(taken map[int]lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	for partition, l := range taken {
		s.readers[partition] = s.startReader(l)
	}
	return len(taken) > 0
}

// handOver drains some readers and gives their leases back for other members to
// take.
func (s *subscription) handOver(excess int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return
	}
	for _, r := range s.readers {
		if r.handingOver {
			excess--
		}
	}
	for _, r := range s.readers {
		if excess <= 0 {
			return
		}
		if r.handingOver {
			continue
		}
		excess--
		r.handingOver = true
		r.stop()
		s.wg.Go(func() {
			<-r.finished
			ctx, cancel := context.WithTimeout(s.alive, s.broker.config.Lease)
			defer cancel()
			err := errors.Join(s.flush(ctx), s.release(ctx, r.partition, r.epoch))
			s.forget(r)
			if err != nil && ctx.Err() == nil {
				s.logger.WarnContext(ctx, "giving a lease back failed, it is tried again", "partition", r.partition, "error", err)
			}
		})
	}
}

// release gives a partition back, unless it is another's by now.
func (s *subscription) release(ctx context.Context, partition int, epoch int64) error {
	return s.broker.change(ctx, `
		UPDATE queue_cursors SET owner = '' WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND owner = $4 AND epoch = $5`,
		s.group, s.topic, partition, s.id, epoch)
}

// fence stops a reader whose lease went to another member.
func (s *subscription) fence(r *reader) {
	select {
	case <-r.finished:
		return // drained: it has given its lease back while this flush or balance was under way
	default:
	}
	s.logger.Warn("lost the lease on a partition", "partition", r.partition)
	s.forget(r)
	r.kill()
}

// forget takes a reader that has ended, or is about to, off the list.
func (s *subscription) forget(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers[r.partition] == r {
		delete(s.readers, r.partition)
	}
}
