package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// Store is the operator's view of the outbox.
type Store struct{ db *database.DB }

// NewStore returns the operator's view of the outbox in db.
func NewStore(db *database.DB) *Store { return &Store{db} }

// Status says what waits in the outbox.
type Status struct {
	// Unsent counts the events that the broker has not confirmed, those below
	// included.
	Unsent int64 `json:"unsent"`
	// OldestUnsent is when the oldest of them was written; nil if there is none.
	OldestUnsent *time.Time `json:"oldest_unsent"`
	// Retrying counts the events that failed and will be tried again.
	Retrying int64 `json:"retrying"`
	// SetAside lists the events that wait for an operator, oldest first, at most
	// 100 of them.
	SetAside []SetAside `json:"set_aside"`
}

// SetAside is an event that could not be published. Later events of its key
// wait behind it.
type SetAside struct {
	ID           int64     `json:"id"`
	EventID      string    `json:"event_id"`
	EventType    string    `json:"event_type"`
	Topic        string    `json:"topic"`
	PartitionKey string    `json:"partition_key"`
	Attempts     int       `json:"attempts"`
	Error        string    `json:"error"`
	CreatedAt    time.Time `json:"created_at"`
	SetAsideAt   time.Time `json:"set_aside_at"`
}

// Status reads what waits.
func (s *Store) Status(ctx context.Context) (Status, error) {
	status := Status{SetAside: []SetAside{}}
	var oldest database.Time
	err := s.db.QueryRowContext(ctx, `
		SELECT COUNT(*), MIN(created_at), COUNT(CASE WHEN set_aside_at IS NULL THEN retry_at END) FROM outbox`).
		Scan(&status.Unsent, &oldest, &status.Retrying)
	if err != nil {
		return status, fmt.Errorf("outbox: read status: %w", err)
	}
	status.OldestUnsent = oldest.Pointer()
	rows, err := s.db.QueryContext(ctx, `
		SELECT id, event_id, event_type, topic, partition_key, attempts, error, created_at, set_aside_at FROM outbox
		WHERE set_aside_at IS NOT NULL ORDER BY id LIMIT 100`)
	if err != nil {
		return status, fmt.Errorf("outbox: read events set aside: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e SetAside
		var created, setAside database.Time
		if err := rows.Scan(&e.ID, &e.EventID, &e.EventType, &e.Topic, &e.PartitionKey, &e.Attempts, &e.Error, &created, &setAside); err != nil {
			return status, fmt.Errorf("outbox: read events set aside: %w", err)
		}
		e.CreatedAt, e.SetAsideAt = created.Time, setAside.Time
		status.SetAside = append(status.SetAside, e)
	}
	return status, rows.Err()
}

// Tables are where events are stored on their way to the broker, and for a while
// after that.
func (s *Store) Tables() []broker.Table {
	return []broker.Table{
		{DB: s.db, Name: "outbox", ID: "CAST(id AS text)", Number: "id", MessageID: "event_id", Own: true},
		{DB: s.db, Name: "outbox_sent", ID: "CAST(id AS text)", Number: "id", MessageID: "event_id", Own: true},
	}
}

// ErrNotSetAside is returned by Resend for an id that is not set aside.
var ErrNotSetAside = errors.New("not set aside")

// Resend gives the events set aside a fresh set of attempts: those with the
// given ids, or all of them if there is none. It returns how many. An id that is
// not set aside is an error, and nothing is resent.
func (s *Store) Resend(ctx context.Context, ids ...int64) (int64, error) {
	var total int64
	err := s.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		total = 0
		const resend = `UPDATE outbox SET set_aside_at = NULL, retry_at = NULL, attempts = 0 WHERE set_aside_at IS NOT NULL`
		if len(ids) == 0 {
			result, err := tx.ExecContext(ctx, resend)
			if err != nil {
				return err
			}
			total, err = result.RowsAffected()
			return err
		}
		for _, id := range ids {
			result, err := tx.ExecContext(ctx, resend+` AND id = $1`, id)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("event %d: %w: see `service outbox status`", id, ErrNotSetAside)
			}
			total += n
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("outbox: resend: %w", err)
	}
	return total, nil
}

// Prune deletes up to limit events that were sent before the given time, and
// returns how many. It is a retention job.
func Prune(ctx context.Context, tx database.Tx, before time.Time, limit int) (int64, error) {
	result, err := tx.ExecContext(ctx, `
		DELETE FROM outbox_sent WHERE (sent_at, id) IN (SELECT sent_at, id FROM outbox_sent WHERE sent_at < $1 ORDER BY sent_at, id LIMIT $2)`, before, limit)
	if err != nil {
		return 0, fmt.Errorf("outbox: prune: %w", err)
	}
	return result.RowsAffected()
}
