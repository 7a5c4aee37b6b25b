package sqlqueue

import (
	"context"
	"slices"
	"sync"
	"time"
)

// heads tells the readers how far the log reaches: one query for all of them,
// when something was published and at every poll.
type heads struct {
	mu      sync.Mutex
	subs    []*subscription
	cancel  context.CancelFunc
	running sync.WaitGroup
	poke    chan struct{}
	stopped bool
}

func (b *Broker) watchHeads(s *subscription) {
	b.heads.mu.Lock()
	defer b.heads.mu.Unlock()
	b.heads.subs = append(b.heads.subs, s)
	if b.heads.cancel == nil && !b.heads.stopped {
		ctx, cancel := context.WithCancel(context.Background())
		b.heads.cancel, b.heads.poke = cancel, make(chan struct{}, 1)
		b.heads.running.Go(func() { b.pollHeads(ctx, b.heads.poke) })
	}
}

func (b *Broker) unwatchHeads(s *subscription) {
	b.heads.mu.Lock()
	defer b.heads.mu.Unlock()
	b.heads.subs = slices.DeleteFunc(b.heads.subs, func(x *subscription) bool { return x == s })
}

// refreshHeads asks for a look right now, for a partition just taken.
func (b *Broker) refreshHeads() {
	b.heads.mu.Lock()
	defer b.heads.mu.Unlock()
	if b.heads.poke != nil {
		select {
		case b.heads.poke <- struct{}{}:
		default:
		}
	}
}

func (h *heads) stop() {
	h.mu.Lock()
	cancel := h.cancel
	h.stopped = true
	h.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	h.running.Wait()
}

func (b *Broker) pollHeads(ctx context.Context, poke <-chan struct{}) {
	woken, stop := b.db.Woken(signal)
	defer stop()
	poll := time.NewTicker(b.config.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-poke:
		case <-poll.C:
		}
		if err := b.readHeads(ctx); err != nil && ctx.Err() == nil {
			b.logger.WarnContext(ctx, "looking for new messages failed", "error", err, "retry_in", b.config.Poll)
		}
	}
}

func (b *Broker) readHeads(ctx context.Context) error {
	b.heads.mu.Lock()
	subs := slices.Clone(b.heads.subs)
	b.heads.mu.Unlock()
	if len(subs) == 0 {
		return nil
	}
	rows, err := b.db.QueryContext(ctx, `SELECT topic, partition, next_offset FROM queue_partitions`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var topic string
		var partition int
		var next int64
		if err := rows.Scan(&topic, &partition, &next); err != nil {
			return err
		}
		for _, s := range subs {
			if s.topic == topic {
				s.setHead(partition, next)
			}
		}
	}
	return rows.Err()
}
