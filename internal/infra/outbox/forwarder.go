package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// Forwarder moves events from the outbox to the broker. Any number may run on
// one PostgreSQL: each locks the partitions it works on. On SQLite there is one.
type Forwarder struct {
	db     *database.DB
	broker broker.Broker
	inTx   broker.TxPublisher                                  // nil for a broker outside the database
	pass   func(ctx context.Context, full func()) (int, error) // calls full when it has found a full batch
	config Config
	logger *slog.Logger
}

// NewForwarder returns a Forwarder that publishes to b, within the database's
// own transaction where b can.
func NewForwarder(db *database.DB, b broker.Broker, config Config, logger *slog.Logger) *Forwarder {
	inTx, local := b.(broker.TxPublisher)
	config.setDefaults(local)
	f := &Forwarder{db: db, broker: b, config: config, logger: logger}
	switch {
	case local:
		f.inTx, f.pass, f.config.Workers = inTx, f.move, 1 // the database does the work
	case db.Dialect() == database.SQLite:
		f.pass, f.config.Workers = f.publishUnlocked, 1 // there are no locks to keep workers apart
	default:
		f.pass = f.publishLocked
	}
	return f
}

// Run forwards until ctx is done, then finishes the batches at hand and returns
// nil. Failures are logged and tried again for as long as it takes.
func (f *Forwarder) Run(ctx context.Context) error {
	woken, stop := f.db.Woken(signal)
	defer stop()
	outage := backoff.NewExponentialBackOff()
	outage.InitialInterval, outage.MaxInterval = 100*time.Millisecond, 5*time.Second
	poll := time.NewTimer(0)
	defer poll.Stop()
	for {
		due, err := true, error(nil) // somebody has committed
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-poll.C:
			due, err = f.due(ctx)
		}
		for due && err == nil && ctx.Err() == nil {
			var n int64
			n, err = f.drain(ctx)
			due = n > 0
			pause(ctx, breather(n))
		}
		wait := f.config.Poll
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			wait = outage.NextBackOff()
			f.logger.WarnContext(ctx, "forwarding failed, events wait in the outbox", "error", err, "retry_in", wait)
		default:
			outage.Reset()
		}
		poll.Reset(wait)
	}
}

// breather is the pause after n events were forwarded: those that are committed
// meanwhile go together. One that comes alone goes out at once, and so does the
// next; where many come, each pass saved is worth more than the milliseconds.
func breather(n int64) time.Duration {
	switch {
	case n <= 1:
		return 0
	case n < 16:
		return 4 * time.Millisecond
	}
	return 10 * time.Millisecond
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// drain forwards batches for as long as they are full ones, with more workers
// then. It returns how many it has forwarded, and should be called again until it
// finds nothing: a row committed during a pass may have been skipped by the other
// Forwarders because this one held its partition.
func (f *Forwarder) drain(ctx context.Context) (total int64, err error) {
	group, ctx := errgroup.WithContext(ctx)
	more := make(chan struct{}, f.config.Workers-1) // a place for each worker but the first
	var forwarded atomic.Int64
	var work func() error
	full := func() {
		select {
		case more <- struct{}{}:
			group.Go(work)
		default:
		}
	}
	work = func() error {
		for ctx.Err() == nil {
			n, err := f.forward(context.WithoutCancel(ctx), full)
			if err != nil || n == 0 {
				return err
			}
			forwarded.Add(int64(n))
			if n < f.config.Batch/2 {
				return nil
			}
		}
		return nil
	}
	group.Go(work)
	err = group.Wait()
	return forwarded.Load(), err
}

// Forward makes one pass: it takes a batch, publishes it and marks it. It
// returns how many rows it dealt with; 0 means that nothing is due, or that
// other Forwarders hold what is. An error means that the broker or the database
// is out of reach.
func (f *Forwarder) Forward(ctx context.Context) (int, error) {
	return f.forward(ctx, func() {})
}

func (f *Forwarder) forward(ctx context.Context, full func()) (int, error) {
	n, err := f.pass(ctx, full)
	if err != nil {
		return 0, fmt.Errorf("outbox: forward: %w", err)
	}
	return n, nil
}

// due looks without locking, so that an idle Forwarder writes nothing.
func (f *Forwarder) due(ctx context.Context) (bool, error) {
	var due bool
	err := f.db.Poll(ctx, func(ctx context.Context) error {
		return f.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbox WHERE set_aside_at IS NULL)`).Scan(&due)
	})
	if err != nil {
		return false, fmt.Errorf("outbox: look for events: %w", err)
	}
	return due, nil
}

// settings are a pass's own: a process that was stopped in the middle must not keep
// its partitions for ever.
const settings = `SELECT set_config('idle_in_transaction_session_timeout', '30s', true)`

// locked are partitions that a pass works on.
type locked struct {
	partitions []int64
	held       bool // some have events that failed and hold back later ones of their key
}

// lock takes some of the partitions that have events and that no other pass
// holds. It is a statement of its own: the next one sees what the pass before
// has marked.
func (f *Forwarder) lock(ctx context.Context, tx database.Tx) (locked, error) {
	// One probe of an index for each, where EXISTS is free to read everything. It is
	// from the end: at the beginning are the remains of rows just taken out.
	query := `
		SELECT partition, (SELECT id FROM outbox o
			WHERE o.partition = p.partition AND (retry_at IS NOT NULL OR set_aside_at IS NOT NULL) LIMIT 1) IS NOT NULL
		FROM outbox_partitions p
		WHERE (SELECT id FROM outbox o WHERE o.partition = p.partition ORDER BY id DESC LIMIT 1) IS NOT NULL
		ORDER BY RANDOM() LIMIT $1`
	if f.db.Dialect() == database.Postgres {
		if _, err := database.Queued(tx).ExecContext(ctx, settings); err != nil {
			return locked{}, fmt.Errorf("set up the transaction: %w", err)
		}
		if err := database.FollowIndexes(ctx, tx); err != nil {
			return locked{}, fmt.Errorf("set up the transaction: %w", err)
		}
		query += ` FOR UPDATE SKIP LOCKED`
	}
	var l locked
	err := database.Read(ctx, tx, func(scan func(...any) error) error {
		var partition int64
		var held bool
		if err := scan(&partition, &held); err != nil {
			return err
		}
		l.partitions, l.held = append(l.partitions, partition), l.held || held
		return nil
	}, query, Partitions/f.config.Workers)
	if err != nil {
		return locked{}, fmt.Errorf("lock partitions: %w", err)
	}
	return l, nil
}
