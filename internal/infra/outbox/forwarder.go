package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// publishLimit bounds the publishing of one batch to a broker outside the
// database, during which the batch's partitions are locked.
const publishLimit = 20 * time.Second

// Forwarder moves events from the outbox to the broker. Any number may run on
// one PostgreSQL: each locks the partitions it works on. On SQLite there is one.
type Forwarder struct {
	db     *database.DB
	broker broker.Broker
	inTx   broker.TxPublisher // nil for a broker outside the database
	config Config
	logger *slog.Logger
}

// NewForwarder returns a Forwarder that publishes to b, within the database's
// own transaction where b can.
func NewForwarder(db *database.DB, b broker.Broker, config Config, logger *slog.Logger) *Forwarder {
	config.setDefaults()
	inTx, _ := b.(broker.TxPublisher)
	return &Forwarder{db: db, broker: b, inTx: inTx, config: config, logger: logger}
}

// Run forwards until ctx is done, then finishes the batch at hand and returns
// nil. Failures are logged and tried again for as long as it takes.
func (f *Forwarder) Run(ctx context.Context) error {
	woken, stop := f.db.Woken(signal)
	defer stop()
	outage := backoff.NewExponentialBackOff()
	outage.InitialInterval, outage.MaxInterval = 100*time.Millisecond, 5*time.Second
	poll := time.NewTimer(0)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-poll.C:
		}
		wait := f.config.Poll
		// Until a pass finds nothing: a row committed during a pass may have been
		// skipped by the other Forwarders because this one held its partition.
		for {
			n, err := f.Forward(context.WithoutCancel(ctx))
			if err != nil {
				wait = outage.NextBackOff()
				f.logger.WarnContext(ctx, "forwarding failed, events wait in the outbox", "error", err, "retry_in", wait)
				break
			}
			outage.Reset()
			if n == 0 || ctx.Err() != nil {
				break
			}
		}
		poll.Reset(wait)
	}
}

// row is an unsent event.
type row struct {
	id       int64
	topic    string
	key      string
	attempts int
	message  *message.Message
}

// outcome is what became of a row: sent if err is nil.
type outcome struct {
	row row
	err error
}

// Forward makes one pass: it takes a batch, publishes it and marks it. It
// returns how many rows it dealt with; 0 means that nothing is due, or that
// other Forwarders hold what is. An error means that the broker or the database
// is out of reach.
func (f *Forwarder) Forward(ctx context.Context) (int, error) {
	due, err := f.due(ctx)
	if err != nil || !due {
		return 0, err
	}
	if f.db.Dialect() == database.SQLite && f.inTx == nil {
		return f.forwardUnlocked(ctx)
	}
	n := 0
	err = f.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		n = 0
		partitions, err := f.lock(ctx, tx)
		if err != nil || len(partitions) == 0 {
			return err
		}
		rows, err := f.read(ctx, tx, partitions)
		if err != nil || len(rows) == 0 {
			return err
		}
		outcomes, err := f.publish(ctx, tx, rows)
		if err != nil {
			return err
		}
		n = len(rows)
		return f.mark(ctx, tx, outcomes)
	})
	if err != nil {
		return 0, fmt.Errorf("outbox: forward: %w", err)
	}
	return n, nil
}

// forwardUnlocked publishes outside any transaction: SQLite's one writer must
// not be held while a broker elsewhere is talked to, and there is no second
// Forwarder to keep away.
func (f *Forwarder) forwardUnlocked(ctx context.Context) (int, error) {
	partitions := make([]int, Partitions)
	for i := range partitions {
		partitions[i] = i
	}
	rows, err := f.read(ctx, f.db, partitions)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	outcomes, err := f.publish(ctx, nil, rows)
	if err == nil {
		err = f.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error { return f.mark(ctx, tx, outcomes) })
	}
	if err != nil {
		return 0, fmt.Errorf("outbox: forward: %w", err)
	}
	return len(rows), nil
}

// due looks without locking, so that an idle Forwarder writes nothing.
func (f *Forwarder) due(ctx context.Context) (bool, error) {
	var due bool
	err := f.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbox WHERE sent_at IS NULL AND set_aside_at IS NULL)`).Scan(&due)
	if err != nil {
		return false, fmt.Errorf("outbox: look for events: %w", err)
	}
	return due, nil
}

// lock takes the partitions that have events and that no other Forwarder holds.
func (f *Forwarder) lock(ctx context.Context, tx database.Tx) ([]int, error) {
	query := `SELECT partition FROM outbox_partitions p
		WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.partition = p.partition AND o.sent_at IS NULL)`
	if f.db.Dialect() == database.Postgres {
		// A stopped process must not keep its partitions for ever.
		if _, err := tx.ExecContext(ctx, `SET LOCAL idle_in_transaction_session_timeout = '30s'`); err != nil {
			return nil, fmt.Errorf("bound the transaction: %w", err)
		}
		query += ` FOR UPDATE SKIP LOCKED`
	}
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("lock partitions: %w", err)
	}
	defer rows.Close()
	var partitions []int
	for rows.Next() {
		var p int
		if err := rows.Scan(&p); err != nil {
			return nil, fmt.Errorf("lock partitions: %w", err)
		}
		partitions = append(partitions, p)
	}
	return partitions, rows.Err()
}

// querier is a Tx or a DB.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// read takes the oldest events of each partition, but for those of a key that
// an earlier failure holds back.
func (f *Forwarder) read(ctx context.Context, q querier, partitions []int) ([]row, error) {
	const query = `
		SELECT id, topic, partition_key, event_id, metadata, payload, attempts FROM outbox o
		WHERE partition = $1 AND sent_at IS NULL AND NOT EXISTS (
			SELECT 1 FROM outbox held
			WHERE held.sent_at IS NULL AND (held.retry_at IS NOT NULL OR held.set_aside_at IS NOT NULL)
			AND (held.retry_at > $2 OR held.set_aside_at IS NOT NULL)
			AND held.partition = o.partition AND held.topic = o.topic AND held.partition_key = o.partition_key AND held.id <= o.id)
		ORDER BY id LIMIT $3`
	limit := max(1, f.config.Batch/len(partitions))
	now := time.Now()
	var batch []row
	for _, partition := range partitions {
		rows, err := q.QueryContext(ctx, query, partition, now, limit)
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		for rows.Next() {
			r, err := scanRow(ctx, rows)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("read events: %w", err), rows.Close())
			}
			batch = append(batch, r)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
	}
	return batch, nil
}

func scanRow(ctx context.Context, rows *sql.Rows) (row, error) {
	var r row
	var eventID, metadata string
	var payload []byte
	if err := rows.Scan(&r.id, &r.topic, &r.key, &eventID, &metadata, &payload, &r.attempts); err != nil {
		return r, err
	}
	r.message = message.NewMessageWithContext(ctx, eventID, payload)
	if err := json.Unmarshal([]byte(metadata), &r.message.Metadata); err != nil {
		return r, fmt.Errorf("row %d: metadata: %w", r.id, err)
	}
	return r, nil
}

// publish says for each row what became of it, in any order. An error means
// that the broker is out of reach and nothing is known.
func (f *Forwarder) publish(ctx context.Context, tx database.Tx, rows []row) ([]outcome, error) {
	if f.inTx != nil {
		return f.publishInTx(ctx, tx, rows)
	}
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

func (f *Forwarder) publishInTx(ctx context.Context, tx database.Tx, rows []row) ([]outcome, error) {
	byTopic := map[string][]row{}
	for _, r := range rows {
		byTopic[r.topic] = append(byTopic[r.topic], r)
	}
	var outcomes []outcome
	for topic, rows := range byTopic {
		messages := make([]*message.Message, len(rows))
		for i, r := range rows {
			messages[i] = r.message
		}
		err := f.inTx.PublishTx(ctx, tx, topic, messages...)
		if err != nil && !errors.Is(err, broker.ErrRejected) {
			return nil, err
		}
		for _, r := range rows {
			outcomes = append(outcomes, outcome{r, err})
		}
	}
	return outcomes, nil
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
	group.SetLimit(f.config.Lanes)
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

// mark writes down what became of the rows.
func (f *Forwarder) mark(ctx context.Context, tx database.Tx, outcomes []outcome) error {
	now := time.Now()
	var sent []int64
	for _, o := range outcomes {
		if o.err == nil {
			sent = append(sent, o.row.id)
			continue
		}
		if err := f.markFailed(ctx, tx, o, now); err != nil {
			return err
		}
	}
	if len(sent) == 0 {
		return nil
	}
	these, arg := f.db.AnyOf("id", 2, sent)
	if _, err := tx.ExecContext(ctx, `UPDATE outbox SET sent_at = $1, retry_at = NULL, error = '' WHERE `+these, now, arg); err != nil {
		return fmt.Errorf("mark events as sent: %w", err)
	}
	return nil
}

func (f *Forwarder) markFailed(ctx context.Context, tx database.Tx, o outcome, now time.Time) error {
	attempts := o.row.attempts + 1
	var retryAt, setAsideAt *time.Time
	log := f.logger.With("outbox_id", o.row.id, "event_id", o.row.message.UUID, "topic", o.row.topic, "attempts", attempts, "error", o.err)
	if attempts >= f.config.Attempts || errors.Is(o.err, broker.ErrRejected) {
		setAsideAt = &now
		log.ErrorContext(ctx, "event set aside, its key waits: see `service outbox status`")
	} else {
		pause := f.config.RetryPause * time.Duration(min(1<<o.row.attempts, 100))
		at := now.Add(pause)
		retryAt = &at
		log.WarnContext(ctx, "event could not be published, its key waits", "retry_in", pause)
	}
	_, err := tx.ExecContext(ctx, `UPDATE outbox SET attempts = $1, error = $2, retry_at = $3, set_aside_at = $4 WHERE id = $5`,
		attempts, o.err.Error(), retryAt, setAsideAt, o.row.id)
	if err != nil {
		return fmt.Errorf("mark event %d as failed: %w", o.row.id, err)
	}
	return nil
}
