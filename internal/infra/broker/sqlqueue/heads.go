package sqlqueue

import (
	"context"
	"fmt"
)

// watchHeads tells the readers how far the log reaches when something was
// published, with one query for all of them, until ctx is done. Where a wake-up
// is lost, the next heartbeat tells them.
func (b *Broker) watchHeads(ctx context.Context) {
	woken, stop := b.db.Woken(signal)
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-b.heads:
		}
		if err := b.readHeads(ctx); err != nil && ctx.Err() == nil {
			b.logger.WarnContext(ctx, "looking for new messages failed, the next heartbeat looks again", "error", err)
		}
	}
}

func (b *Broker) readHeads(ctx context.Context) error {
	subs := b.member.subscriptions()
	if len(subs) == 0 {
		return nil
	}
	err := b.query(ctx, func(scan func(...any) error) error {
		var topic string
		var partition int
		var next int64
		if err := scan(&topic, &partition, &next); err != nil {
			return err
		}
		for _, s := range subs {
			if s.topic == topic {
				s.setHead(partition, next)
			}
		}
		return nil
	}, `SELECT topic, partition, next_offset FROM queue_partitions`)
	if err != nil {
		return fmt.Errorf("read heads: %w", err)
	}
	return nil
}
