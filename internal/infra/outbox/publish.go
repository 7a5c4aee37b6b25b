package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// publishLimit bounds the publishing of one batch to a broker outside the
// database, during which the batch's partitions are locked.
const publishLimit = 20 * time.Second

// publishLocked forwards a batch to a broker elsewhere. Its partitions are locked
// meanwhile, which keeps the order per key among workers and processes.
func (f *Forwarder) publishLocked(ctx context.Context, full func()) (n int, err error) {
	err = f.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		n = 0
		locked, err := f.lock(ctx, tx)
		if err != nil || len(locked.partitions) == 0 {
			return err
		}
		rows, err := f.read(ctx, tx, locked, true)
		if err != nil || len(rows) == 0 {
			return err
		}
		if len(rows) >= f.config.Batch/2 {
			full() // another worker reads ahead, while this one publishes
		}
		outcomes, err := f.publish(ctx, rows)
		if err != nil {
			return err
		}
		n = len(rows)
		return f.mark(ctx, tx, outcomes)
	})
	return n, err
}

// publishUnlocked publishes outside any transaction: SQLite's one writer must
// not be held while a broker elsewhere is talked to, and there is no second
// Forwarder to keep away.
func (f *Forwarder) publishUnlocked(ctx context.Context, _ func()) (int, error) {
	all := locked{held: true} // perhaps
	for p := range int64(Partitions) {
		all.partitions = append(all.partitions, p)
	}
	rows, err := f.read(ctx, f.db, all, true)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	outcomes, err := f.publish(ctx, rows)
	if err == nil {
		err = f.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error { return f.mark(ctx, tx, outcomes) })
	}
	return len(rows), err
}

// publish says for each row what became of it, in any order. An error means
// that the broker is out of reach and nothing is known.
func (f *Forwarder) publish(ctx context.Context, rows []row) ([]outcome, error) {
	outcomes := f.publishByKey(ctx, rows)
	for _, o := range outcomes {
		if o.err != nil && !errors.Is(o.err, broker.ErrRejected) {
			// Is it the event, or is it the broker?
			if err := f.broker.Ping(ctx); err != nil {
				return f.confirmed(outcomes, fmt.Errorf("the broker does not answer: %w", err))
			}
			break
		}
	}
	return outcomes, nil
}

// confirmed keeps what was sent before the broker went away. If that is
// nothing, the outage is all there is to tell.
func (f *Forwarder) confirmed(outcomes []outcome, outage error) ([]outcome, error) {
	var sent []outcome
	for _, o := range outcomes {
		if o.err == nil {
			sent = append(sent, o)
		}
	}
	if len(sent) == 0 {
		return nil, outage
	}
	return sent, nil
}

// publishByKey publishes keys side by side, and the events of one key one after
// another up to the first that fails.
func (f *Forwarder) publishByKey(ctx context.Context, rows []row) []outcome {
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	type lane struct{ topic, key string }
	lanes := map[lane][]row{}
	for _, r := range rows {
		lanes[lane{r.topic, r.key}] = append(lanes[lane{r.topic, r.key}], r)
	}
	var mu sync.Mutex
	var outcomes []outcome
	var group errgroup.Group
	group.SetLimit(max(1, f.config.Lanes/f.config.Workers))
	for lane, rows := range lanes {
		group.Go(func() error {
			for _, r := range rows {
				if ctx.Err() != nil {
					return nil // out of time: the rest stays as it is
				}
				r.message.SetContext(ctx)
				err := f.broker.Publisher().Publish(lane.topic, r.message)
				mu.Lock()
				outcomes = append(outcomes, outcome{r, err})
				mu.Unlock()
				if err != nil {
					return nil
				}
			}
			return nil
		})
	}
	_ = group.Wait() // the lanes report through outcomes
	return outcomes
}
