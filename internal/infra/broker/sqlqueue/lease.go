package sqlqueue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

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
	for _, l := range s.compare(v.held) {
		if err := s.release(ctx, l.partition, l.epoch); err != nil {
			return fmt.Errorf("give back partition %d: %w", l.partition, err)
		}
	}
	if v.members == 0 {
		return nil
	}
	share := (s.partitions + v.members - 1) / v.members
	s.mu.Lock()
	most := min(share-s.staying(), v.free)
	s.mu.Unlock()
	if most > 0 {
		taken, err := s.take(ctx, most)
		if err != nil {
			return fmt.Errorf("take leases: %w", err)
		}
		if s.start(taken) {
			s.logger.DebugContext(ctx, "took partitions", "count", len(taken), "share", share)
			poke(s.broker.heads)
		}
	}
	s.handOver(share)
	return nil
}

// compare fences the readers whose lease is gone and tells the others how far the
// log reaches. It returns the leases that have no reader: it has ended, and they
// could not be given back then.
func (s *subscription) compare(held []lease) []lease {
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
	s.mu.Unlock()
	for _, r := range lost {
		s.fence(r)
	}
	return slices.Collect(maps.Values(leases))
}

// take takes up to most of the partitions that nobody holds. Other members reach
// for them at the same time. On PostgreSQL, a row that one of them has updated
// since this statement began is compared anew with the epoch as it was then, which
// refuses it; whether its new owner is alive would not be looked up anew. Both
// parts are materialized so that they run once, or the limit would be one a run.
func (s *subscription) take(ctx context.Context, most int) (map[int]lease, error) {
	lock := ""
	if s.broker.db.Dialect() == database.Postgres {
		lock = "FOR UPDATE OF c SKIP LOCKED"
	}
	taken := map[int]lease{}
	err := s.broker.write(ctx, func(scan func(...any) error) error {
		var l lease
		err := scan(&l.partition, &l.epoch, &l.nextOffset)
		taken[l.partition] = l
		return err
	}, `
		WITH free AS MATERIALIZED (
			SELECT c.partition, c.epoch FROM queue_cursors c WHERE c.consumer_group = $1 AND c.topic = $2 AND `+free+`),
		mine AS MATERIALIZED (
			SELECT c.partition FROM queue_cursors c JOIN free ON free.partition = c.partition AND free.epoch = c.epoch
			WHERE c.consumer_group = $1 AND c.topic = $2 ORDER BY c.partition LIMIT $4 `+lock+`)
		UPDATE queue_cursors SET owner = $3, epoch = epoch + 1
		WHERE consumer_group = $1 AND topic = $2 AND partition IN (SELECT partition FROM mine)
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

// handOver drains the readers above the share and gives their leases back for
// other members to take.
func (s *subscription) handOver(share int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return
	}
	excess := s.staying() - share
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

// staying is how many readers are not about to give their lease back. The caller
// holds mu.
func (s *subscription) staying() (n int) {
	for _, r := range s.readers {
		if !r.handingOver {
			n++
		}
	}
	return n
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
