package deadletter

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// ErrNotFound is returned for a dead letter that doesn't exist, or is not in a
// state that allows what was asked for.
var ErrNotFound = errors.New("no such dead letter")

// ErrNothingSelected is returned for an operation without any selection: all of
// them must be asked for by name.
var ErrNothingSelected = errors.New("nothing selected")

// Letter is a dead letter.
type Letter struct {
	ID            int64      `json:"id"`
	State         State      `json:"state"`
	Consumer      string     `json:"consumer"`
	Topic         string     `json:"topic"`
	EventID       string     `json:"event_id"`
	EventType     string     `json:"event_type"`
	SchemaVersion int        `json:"schema_version"`
	PartitionKey  string     `json:"partition_key"`
	Error         string     `json:"error"`
	Attempts      int        `json:"attempts"`
	Replays       int        `json:"replays"`
	FirstFailedAt time.Time  `json:"first_failed_at"`
	LastFailedAt  time.Time  `json:"last_failed_at"`
	ClosedAt      *time.Time `json:"closed_at"`
}

// Detail is a dead letter with everything that is known about it.
type Detail struct {
	Letter
	Chain     []Cause          `json:"error_chain"`
	Stack     string           `json:"stack,omitempty"`
	MessageID string           `json:"message_id"`
	Metadata  message.Metadata `json:"metadata"`
	// Payload is the message as it was received.
	Payload []byte `json:"payload"`
}

// Selection picks dead letters: those that match all of the fields that are set.
type Selection struct {
	IDs       []int64 `json:"ids,omitempty"`
	Consumer  string  `json:"consumer,omitempty"`
	EventType string  `json:"event_type,omitempty"`
	State     State   `json:"state,omitempty"`
	// All must be set for an operation on everything there is.
	All bool `json:"all,omitempty"`
}

func (s Selection) empty() bool {
	return len(s.IDs) == 0 && s.Consumer == "" && s.EventType == "" && !s.All
}

// where is the selection as a condition, with its parameters from $first on.
func (s Selection) where(db *database.DB, first int) (string, []any) {
	conditions := []string{"1 = 1"}
	var args []any
	add := func(column string, value any) {
		args = append(args, value)
		conditions = append(conditions, fmt.Sprintf("%s = $%d", column, first+len(args)-1))
	}
	if s.Consumer != "" {
		add("consumer", s.Consumer)
	}
	if s.EventType != "" {
		add("event_type", s.EventType)
	}
	if s.State != "" {
		add("state", string(s.State))
	}
	if len(s.IDs) > 0 {
		these, arg := db.AnyOf("id", first+len(args), s.IDs)
		conditions, args = append(conditions, these), append(args, arg)
	}
	return strings.Join(conditions, " AND "), args
}

const letterColumns = `id, state, consumer, topic, event_id, event_type, schema_version, partition_key, error, attempts, replays,
	first_failed_at, last_failed_at, closed_at`

func (l *Letter) scan(scan func(...any) error, more ...any) error {
	var first, last, closed database.Time
	err := scan(append([]any{&l.ID, &l.State, &l.Consumer, &l.Topic, &l.EventID, &l.EventType, &l.SchemaVersion, &l.PartitionKey,
		&l.Error, &l.Attempts, &l.Replays, &first, &last, &closed}, more...)...)
	l.FirstFailedAt, l.LastFailedAt, l.ClosedAt = first.Time, last.Time, closed.Pointer()
	return err
}

// List returns the selected dead letters, the newest first, at most limit of
// them, and how many there are in all.
func (s *Store) List(ctx context.Context, selection Selection, limit int) (letters []Letter, total int64, err error) {
	where, args := selection.where(s.db, 1)
	if err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM dead_letters WHERE `+where, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("deadletter: count: %w", err)
	}
	rows, err := s.db.QueryContext(ctx, `SELECT `+letterColumns+` FROM dead_letters WHERE `+where+
		fmt.Sprintf(` ORDER BY id DESC LIMIT $%d`, len(args)+1), append(args, limit)...)
	if err != nil {
		return nil, 0, fmt.Errorf("deadletter: list: %w", err)
	}
	defer rows.Close()
	letters = []Letter{}
	for rows.Next() {
		var l Letter
		if err := l.scan(rows.Scan); err != nil {
			return nil, 0, fmt.Errorf("deadletter: list: %w", err)
		}
		letters = append(letters, l)
	}
	return letters, total, rows.Err()
}

// Get returns one dead letter. The error wraps ErrNotFound if there is none.
func (s *Store) Get(ctx context.Context, id int64) (Detail, error) {
	var d Detail
	var chain, metadata string
	row := s.db.QueryRowContext(ctx, `SELECT `+letterColumns+`, error_chain, stack, message_id, metadata, payload FROM dead_letters WHERE id = $1`, id)
	err := d.scan(row.Scan, &chain, &d.Stack, &d.MessageID, &metadata, &d.Payload)
	if errors.Is(err, sql.ErrNoRows) {
		return d, fmt.Errorf("deadletter: %d: %w", id, ErrNotFound)
	}
	if err == nil {
		err = errors.Join(json.Unmarshal([]byte(chain), &d.Chain), json.Unmarshal([]byte(metadata), &d.Metadata))
	}
	if err != nil {
		return d, fmt.Errorf("deadletter: read %d: %w", id, err)
	}
	return d, nil
}

// Counts says how many dead letters each state has.
func (s *Store) Counts(ctx context.Context) (map[State]int64, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT state, COUNT(*) FROM dead_letters GROUP BY state`)
	if err != nil {
		return nil, fmt.Errorf("deadletter: count: %w", err)
	}
	defer rows.Close()
	counts := map[State]int64{}
	for _, state := range States {
		counts[state] = 0
	}
	for rows.Next() {
		var state State
		var n int64
		if err := rows.Scan(&state, &n); err != nil {
			return nil, fmt.Errorf("deadletter: count: %w", err)
		}
		counts[state] = n
	}
	return counts, rows.Err()
}

// Operator says who does something and why, for the record.
type Operator struct {
	Name   string
	Reason string
}

// Replay sends the selected dead letters back to the consumer that failed, and
// returns how many. Running consumers pick them up; each becomes resolved, or
// dead again. With ids, each of them must be dead or discarded; otherwise only
// what is dead is taken.
func (s *Store) Replay(ctx context.Context, selection Selection, by Operator) (int64, error) {
	return s.move(ctx, "replay", selection, by, Replaying, nil, Dead, Discarded)
}

// Discard gives the selected dead letters up for good, and returns how many.
// Retention removes them. With ids, each of them must be dead; otherwise only
// what is dead is taken.
func (s *Store) Discard(ctx context.Context, selection Selection, by Operator) (int64, error) {
	now := time.Now()
	return s.move(ctx, "discard", selection, by, Discarded, &now, Dead)
}

// move changes the state of the selected dead letters. from lists the states
// allowed for one named by its id; a wider selection takes only the first.
func (s *Store) move(ctx context.Context, action string, selection Selection, by Operator, to State, closedAt *time.Time, from ...State) (moved int64, err error) {
	if selection.empty() {
		return 0, fmt.Errorf("deadletter: %s: %w: give ids, a consumer, an event type, or all", action, ErrNothingSelected)
	}
	if len(selection.IDs) == 0 {
		from = from[:1]
	}
	selection.State = ""
	where, args := selection.where(s.db, 3)
	args = append([]any{string(to), closedAt}, args...)
	states := make([]string, len(from))
	for i, state := range from {
		states[i] = "'" + string(state) + "'"
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE dead_letters SET state = $1, closed_at = $2, due_at = NULL WHERE state IN (`+strings.Join(states, ", ")+`) AND `+where, args...)
		if err != nil {
			return err
		}
		if moved, err = result.RowsAffected(); err != nil {
			return err
		}
		if moved < int64(len(selection.IDs)) {
			return fmt.Errorf("%w: of the %d ids given, %d are in a state that allows it (%s)", ErrNotFound, len(selection.IDs), moved, strings.Join(states, ", "))
		}
		if err := audit(ctx, tx, action, selection, by, moved); err != nil {
			return err
		}
		return s.db.WakeEveryone(ctx, tx, signal)
	})
	if err != nil {
		return 0, fmt.Errorf("deadletter: %s: %w", action, err)
	}
	return moved, nil
}

func audit(ctx context.Context, tx database.Tx, action string, selection Selection, by Operator, affected int64) error {
	encoded, err := json.Marshal(selection)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO dead_letter_actions (at, actor, action, selection, reason, affected) VALUES ($1, $2, $3, $4, $5, $6)`,
		time.Now(), by.Name, action, string(encoded), by.Reason, affected)
	return err
}

// Prune deletes up to limit dead letters that were resolved or discarded before
// the given time, and returns how many. It is a retention job.
func Prune(ctx context.Context, tx database.Tx, before time.Time, limit int) (int64, error) {
	result, err := tx.ExecContext(ctx, `
		DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE closed_at < $1 LIMIT $2)`, before, limit)
	if err != nil {
		return 0, fmt.Errorf("deadletter: prune: %w", err)
	}
	return result.RowsAffected()
}

// Table is where the dead letters are stored that may still be replayed.
func (s *Store) Table() broker.Table {
	return broker.Table{
		DB: s.db, Name: "dead_letters", ID: "CAST(id AS text)", Number: "id", MessageID: "message_id",
		Where: "state IN ('scheduled', 'dead', 'replaying')", Own: true,
	}
}
