package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// row is an unsent event.
type row struct {
	id       int64
	topic    string
	key      string
	keyHash  uint32
	eventID  string
	attempts int
	message  *message.Message // nil where the payload stays in the database
}

// partition is the part of the outbox that the row is in.
func (r row) partition() int64 { return int64(r.keyHash % Partitions) }

// outcome is what became of a row: sent if err is nil.
type outcome struct {
	row row
	err error
}

// read takes the oldest events of each partition, but for those of a key that
// an earlier failure holds back. They are in order.
func (f *Forwarder) read(ctx context.Context, q database.Querier, from locked, withPayload bool) ([]row, error) {
	columns, held := "id, topic, partition_key, key_hash, event_id, attempts", ""
	if withPayload {
		columns += ", metadata, payload"
	}
	now, limit := time.Now(), max(1, f.config.Batch/len(from.partitions))
	args := []any{limit}
	if from.held {
		args = append(args, now)
		held = `AND NOT EXISTS (
			SELECT 1 FROM outbox held
			WHERE (held.retry_at IS NOT NULL OR held.set_aside_at IS NOT NULL)
			AND (held.retry_at > $3 OR held.set_aside_at IS NOT NULL)
			AND held.partition = o.partition AND held.topic = o.topic AND held.partition_key = o.partition_key AND held.id <= o.id)`
	}
	oldest := func(partition string) string {
		return `SELECT ` + columns + ` FROM outbox o WHERE partition = ` + partition + ` ` + held + ` ORDER BY id LIMIT $2`
	}
	if f.db.Dialect() == database.Postgres {
		query := `SELECT o.* FROM unnest($1::bigint[]) AS p(partition) CROSS JOIN LATERAL (` + oldest("p.partition") + `) AS o`
		return f.scan(ctx, q, withPayload, query, append([]any{from.partitions}, args...)...)
	}
	var batch []row
	for _, partition := range from.partitions { // SQLite has no LATERAL, and no round trips either
		rows, err := f.scan(ctx, q, withPayload, oldest("$1"), append([]any{partition}, args...)...)
		if err != nil {
			return nil, err
		}
		batch = append(batch, rows...)
	}
	return batch, nil
}

func (f *Forwarder) scan(ctx context.Context, q database.Querier, withPayload bool, query string, args ...any) ([]row, error) {
	batch := make([]row, 0, f.config.Batch)
	var headers broker.HeaderReader
	err := database.Read(ctx, q, func(scan func(...any) error) error {
		var r row
		var metadata string
		var payload []byte
		dest := []any{&r.id, &r.topic, &r.key, &r.keyHash, &r.eventID, &r.attempts}
		if withPayload {
			dest = append(dest, &metadata, &payload)
		}
		if err := scan(dest...); err != nil {
			return err
		}
		if withPayload {
			r.message = message.NewMessageWithContext(ctx, r.eventID, payload)
			if err := headers.Read(r.message, r.key, metadata); err != nil {
				return fmt.Errorf("row %d: %w", r.id, err)
			}
		}
		batch = append(batch, r)
		return nil
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	slices.SortFunc(batch, func(a, b row) int { return cmp.Compare(a.id, b.id) })
	return batch, nil
}

// mark writes down what became of the rows: those that the broker has go to
// outbox_sent.
func (f *Forwarder) mark(ctx context.Context, tx database.Tx, outcomes []outcome) error {
	if err := f.markFailures(ctx, tx, outcomes); err != nil {
		return err
	}
	var sent []row
	for _, o := range outcomes {
		if o.err == nil {
			sent = append(sent, o.row)
		}
	}
	if len(sent) == 0 {
		return nil
	}
	const columns = "id, topic, partition_key, event_id, event_type, metadata, payload, created_at, attempts"
	query, args := f.takeOut(sent, "o."+strings.ReplaceAll(columns, ", ", ", o."))
	_, err := database.Queued(tx).ExecContext(ctx, fmt.Sprintf(`
		WITH taken_out AS (%s) INSERT INTO outbox_sent (%s, sent_at) SELECT t.*, $%d FROM taken_out t`, query, columns, len(args)+1), append(args, time.Now())...)
	if err != nil {
		return fmt.Errorf("mark events as sent: %w", err)
	}
	return f.clear(ctx, tx, sent)
}

func (f *Forwarder) markFailures(ctx context.Context, tx database.Tx, outcomes []outcome) error {
	now := time.Now()
	for _, o := range outcomes {
		if o.err == nil {
			continue
		}
		if err := f.markFailed(ctx, tx, o, now); err != nil {
			return err
		}
	}
	return nil
}

func (f *Forwarder) markFailed(ctx context.Context, tx database.Tx, o outcome, now time.Time) error {
	attempts := o.row.attempts + 1
	var retryAt, setAsideAt *time.Time
	log := f.logger.With("outbox_id", o.row.id, "event_id", o.row.eventID, "topic", o.row.topic, "attempts", attempts, "error", o.err)
	if attempts >= f.config.Attempts || errors.Is(o.err, broker.ErrRejected) {
		setAsideAt = &now
		log.ErrorContext(ctx, "event set aside, its key waits: see `service outbox status`")
	} else {
		pause := f.config.RetryPause * time.Duration(min(1<<o.row.attempts, 100))
		at := now.Add(pause)
		retryAt = &at
		log.WarnContext(ctx, "event could not be published, its key waits", "retry_in", pause)
	}
	_, err := database.Queued(tx).ExecContext(ctx, `UPDATE outbox SET attempts = $1, error = $2, retry_at = $3, set_aside_at = $4 WHERE partition = $5 AND id = $6`,
		attempts, o.err.Error(), retryAt, setAsideAt, o.row.partition(), o.row.id)
	if err != nil {
		return fmt.Errorf("mark event %d as failed: %w", o.row.id, err)
	}
	return nil
}
