package sqlqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/millwright/internal/infra/database"
)

// lease is a partition that this member holds.
type lease struct {
	partition  int
	epoch      int64
	nextOffset int64
}

// balance renews the leases, takes what is free up to this member's share, and
// starts to hand over what is above it. Between balances a reader goes on: a
// lease lost meanwhile shows when it is renewed or when its cursor won't move.
func (s *subscription) balance(ctx context.Context) error {
	var renewed, taken []lease
	var share int
	s.mu.Lock()
	held := len(s.readers)
	s.mu.Unlock()
	err := s.broker.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		now, err := s.broker.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		if share, err = s.share(ctx, tx, now); err != nil {
			return err
		}
		if renewed, err = s.renew(ctx, tx, now); err != nil {
			return err
		}
		taken, err = s.take(ctx, tx, now, share-held)
		return err
	})
	if err != nil {
		return err
	}
	s.stopLost(renewed)
	s.mu.Lock()
	for _, l := range taken {
		s.readers[l.partition] = s.startReader(l)
	}
	s.mu.Unlock()
	if len(taken) > 0 {
		s.logger.DebugContext(ctx, "took partitions", "count", len(taken), "share", share)
		s.broker.refreshHeads()
	}
	s.handOver(held - share)
	return nil
}

// takeOver frees all leases on SQLite, where there is one process: whoever held
// one when this process opened the database is gone.
func (b *Broker) takeOver(ctx context.Context) error {
	if b.db.Dialect() != database.SQLite {
		return nil
	}
	return b.db.Once("sqlqueue: take over", func() error {
		return b.db.InTx(context.WithoutCancel(ctx), func(ctx context.Context, tx database.Tx) error {
			if _, err := tx.ExecContext(ctx, `UPDATE queue_cursors SET owner = '', lease_until = NULL`); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `DELETE FROM queue_members`)
			return err
		})
	})
}

// share says that this member is alive and how many partitions are its fair
// part.
func (s *subscription) share(ctx context.Context, tx database.Tx, now time.Time) (int, error) {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO queue_members (consumer_group, topic, member, seen_until) VALUES ($1, $2, $3, $4)
		ON CONFLICT (consumer_group, topic, member) DO UPDATE SET seen_until = excluded.seen_until`,
		s.group, s.topic, s.member, now.Add(s.broker.config.Lease))
	if err != nil {
		return 0, fmt.Errorf("tell the group: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM queue_members WHERE consumer_group = $1 AND topic = $2 AND seen_until < $3`,
		s.group, s.topic, now.Add(-time.Minute)); err != nil {
		return 0, fmt.Errorf("forget members: %w", err)
	}
	var members, partitions int
	err = tx.QueryRowContext(ctx, `
		SELECT (SELECT COUNT(*) FROM queue_members WHERE consumer_group = $1 AND topic = $2 AND seen_until > $3),
		       (SELECT COUNT(*) FROM queue_cursors WHERE consumer_group = $1 AND topic = $2)`,
		s.group, s.topic, now).Scan(&members, &partitions)
	if err != nil {
		return 0, fmt.Errorf("count the group: %w", err)
	}
	members = max(members, 1)
	return (partitions + members - 1) / members, nil
}

func (s *subscription) renew(ctx context.Context, tx database.Tx, now time.Time) ([]lease, error) {
	leases, err := s.leases(ctx, tx, `
		UPDATE queue_cursors SET lease_until = $4 WHERE consumer_group = $1 AND topic = $2 AND owner = $3
		RETURNING partition, epoch, next_offset`, s.group, s.topic, s.member, now.Add(s.broker.config.Lease))
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	return leases, nil
}

func (s *subscription) take(ctx context.Context, tx database.Tx, now time.Time, most int) ([]lease, error) {
	if most <= 0 {
		return nil, nil
	}
	lock := ""
	if s.broker.db.Dialect() == database.Postgres {
		lock = "FOR UPDATE SKIP LOCKED"
	}
	leases, err := s.leases(ctx, tx, `
		UPDATE queue_cursors SET owner = $3, epoch = epoch + 1, lease_until = $4
		WHERE consumer_group = $1 AND topic = $2 AND partition IN (
			SELECT partition FROM queue_cursors
			WHERE consumer_group = $1 AND topic = $2 AND (owner = '' OR lease_until < $5)
			ORDER BY partition LIMIT $6 `+lock+`)
		RETURNING partition, epoch, next_offset`,
		s.group, s.topic, s.member, now.Add(s.broker.config.Lease), now, most)
	if err != nil {
		return nil, fmt.Errorf("take leases: %w", err)
	}
	return leases, nil
}

func (s *subscription) leases(ctx context.Context, tx database.Tx, query string, args ...any) ([]lease, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var leases []lease
	for rows.Next() {
		var l lease
		if err := rows.Scan(&l.partition, &l.epoch, &l.nextOffset); err != nil {
			return nil, err
		}
		leases = append(leases, l)
	}
	return leases, rows.Err()
}

// stopLost fences the readers whose lease was not renewed.
func (s *subscription) stopLost(renewed []lease) {
	epochs := make(map[int]int64, len(renewed))
	for _, l := range renewed {
		epochs[l.partition] = l.epoch
	}
	var lost []*reader
	s.mu.Lock()
	for _, r := range s.readers {
		if epoch, ok := epochs[r.partition]; !ok || epoch != r.epoch {
			lost = append(lost, r)
		}
	}
	s.mu.Unlock()
	for _, r := range lost {
		s.fence(r)
	}
}

// handOver drains some readers and gives their leases back for other members to
// take.
func (s *subscription) handOver(excess int) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
			if err := errors.Join(s.flush(ctx), s.release(ctx, r)); err != nil && ctx.Err() == nil {
				s.logger.WarnContext(ctx, "giving a lease back failed, it runs out by itself", "partition", r.partition, "error", err)
			}
		})
	}
}

func (s *subscription) release(ctx context.Context, r *reader) error {
	_, err := s.broker.db.ExecContext(ctx, `
		UPDATE queue_cursors SET owner = '', lease_until = NULL
		WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND owner = $4 AND epoch = $5`,
		s.group, s.topic, r.partition, s.member, r.epoch)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers[r.partition] == r {
		delete(s.readers, r.partition)
	}
	return err
}

// renewOnly keeps the leases while the subscription drains.
func (s *subscription) renewOnly(ctx context.Context) error {
	return errors.Join(s.flush(ctx), s.broker.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		now, err := s.broker.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = s.renew(ctx, tx, now)
		return err
	}))
}

// leave gives all leases back.
func (s *subscription) leave(ctx context.Context) error {
	return s.broker.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		if _, err := tx.ExecContext(ctx, `
			UPDATE queue_cursors SET owner = '', lease_until = NULL WHERE consumer_group = $1 AND topic = $2 AND owner = $3`,
			s.group, s.topic, s.member); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM queue_members WHERE consumer_group = $1 AND topic = $2 AND member = $3`,
			s.group, s.topic, s.member)
		return err
	})
}
