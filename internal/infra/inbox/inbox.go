// Package inbox makes a handler's effect happen once, however often its event is
// delivered.
//
// The processed table holds one row for each consumer and event. [Inbox.Transaction]
// writes that row in the same transaction as the handler's work, so both are
// there or neither: a redelivery after the commit finds the row and is dropped,
// one before it starts over. [Inbox.Effect] does what can be done for work
// outside the database: it looks for the row first and writes it last.
//
// A row is kept for the dedupe window (package retention). A duplicate that
// comes later than that is handled again.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

// Inbox records which consumer has handled which event. It is safe for
// concurrent use.
type Inbox struct {
	db     *database.DB
	logger *slog.Logger

	mu        sync.Mutex
	consumers map[string]*groups
}

// New returns the inbox of the service whose tables are in db.
func New(db *database.DB, logger *slog.Logger) *Inbox {
	return &Inbox{db: db, logger: logger, consumers: map[string]*groups{}}
}

// ErrUnavailable marks a failure to reach the database. It says nothing about
// the event: the broker should deliver it again.
var ErrUnavailable = errors.New("inbox: the database is unavailable")

func unavailable(err error) error {
	if err != nil && database.IsUnavailable(err) {
		return errors.Join(ErrUnavailable, err)
	}
	return err
}

type txKey struct{}

// Tx returns the transaction that the handler below Transaction works in.
func Tx(ctx context.Context) (database.Tx, bool) {
	tx, ok := ctx.Value(txKey{}).(database.Tx)
	return tx, ok
}

// errNoEnvelope means that the chain of middleware is put together wrongly.
var errNoEnvelope = errors.New("inbox: no event in the context: the envelope middleware must come first")

// Transaction returns middleware that runs the rest of the chain in a database
// transaction ([Tx]) together with the record that the consumer handled the
// event.
//
// Messages that wait at the same time share a transaction: their records are
// written at once, their handlers run one after another, and one commit covers
// them all. At most concurrency groups run at a time, fewer if the pool is small
// for the number of consumers or if their transactions conflict. Nobody notices
// the company: an error from the chain undoes what that message did and is
// returned for that message only, if need be by rolling back and running the
// others again. With alone, every message gets a transaction of its own.
//
// What the chain does in the transaction may thus be done several times before
// it is committed once.
func (i *Inbox) Transaction(consumer string, concurrency int, alone bool) message.HandlerMiddleware {
	g := i.groups(consumer, concurrency, alone)
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			event, ok := envelope.FromContext(m.Context())
			if !ok {
				return nil, errNoEnvelope
			}
			return nil, g.submit(&member{message: m, event: event, next: next, alone: isAlone(m.Context()), done: make(chan struct{})})
		}
	}
}

// groups returns the consumer's groups: all its routes share them.
func (i *Inbox) groups(consumer string, concurrency int, alone bool) *groups {
	i.mu.Lock()
	defer i.mu.Unlock()
	if g := i.consumers[consumer]; g != nil {
		return g
	}
	size := maxGroup
	if alone {
		size = 1
	}
	g := &groups{db: i.db, logger: i.logger, consumer: consumer, pace: newPace(func() int { return min(concurrency, i.share()) }, size)}
	i.consumers[consumer] = g
	return g
}

// share is how many transactions a consumer may have open: three quarters of the
// pool are shared out, so that one consumer's slow handlers never wait for
// another's and the API keeps its connections.
func (i *Inbox) share() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return max(1, i.db.Writers()*3/4/max(1, len(i.consumers)))
}

type aloneKey struct{}

// Alone returns a context whose message gets a transaction of its own: one that
// has failed before shall not make others wait again.
func Alone(ctx context.Context) context.Context { return context.WithValue(ctx, aloneKey{}, true) }

func isAlone(ctx context.Context) bool { return ctx.Value(aloneKey{}) != nil }

// Effect returns middleware for work outside the database: the rest of the chain
// runs without a transaction, and the event is recorded once it has succeeded.
// If the process dies in between, or the record can't be written, the work is
// done again. At most limit run at a time.
func (i *Inbox) Effect(consumer string, limit int) message.HandlerMiddleware {
	slots := newSlots(limit)
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			ctx := m.Context()
			event, ok := envelope.FromContext(ctx)
			if !ok {
				return nil, errNoEnvelope
			}
			if err := slots.take(ctx); err != nil {
				return nil, err
			}
			defer slots.free()
			done, err := i.processed(ctx, consumer, event)
			if err != nil {
				return nil, unavailable(err)
			}
			if done {
				i.logDuplicate(ctx, consumer, event)
				return nil, nil
			}
			if _, err := next(m); err != nil {
				return nil, err
			}
			// The work is done: even a shutdown must not keep it from being recorded.
			err = i.db.InTx(context.WithoutCancel(ctx), func(ctx context.Context, tx database.Tx) error {
				return record(ctx, tx, consumer, event)
			})
			return nil, unavailable(err)
		}
	}
}

// record writes the processed row, unless it is there.
func record(ctx context.Context, tx database.Tx, consumer string, event envelope.Header) error {
	_, err := database.Queued(tx).ExecContext(ctx, `
		INSERT INTO processed (consumer, event_id, source, processed_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		consumer, event.ID, event.Source, time.Now())
	if err != nil {
		return fmt.Errorf("inbox: record event: %w", err)
	}
	return nil
}

func (i *Inbox) processed(ctx context.Context, consumer string, event envelope.Header) (done bool, err error) {
	err = i.db.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM processed WHERE consumer = $1 AND event_id = $2 AND source = $3)`,
		consumer, event.ID, event.Source).Scan(&done)
	if err != nil {
		return false, fmt.Errorf("inbox: look for event: %w", err)
	}
	return done, nil
}

func (i *Inbox) logDuplicate(ctx context.Context, consumer string, event envelope.Header) {
	i.logger.DebugContext(ctx, "dropped a duplicate", "consumer", consumer, "event_id", event.ID, "event_type", event.Type)
}

// Prune deletes up to limit processed rows older than before, and returns how
// many. It is a retention job.
func Prune(ctx context.Context, tx database.Tx, before time.Time, limit int) (int64, error) {
	result, err := tx.ExecContext(ctx, `
		DELETE FROM processed WHERE (consumer, event_id, source) IN (
			SELECT consumer, event_id, source FROM processed WHERE processed_at < $1 LIMIT $2)`, before, limit)
	if err != nil {
		return 0, fmt.Errorf("inbox: prune: %w", err)
	}
	return result.RowsAffected()
}

// slots bounds how many run at a time.
type slots chan struct{}

func newSlots(n int) slots { return make(slots, n) }

func (s slots) take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s slots) free() { <-s }
