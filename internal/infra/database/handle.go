package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// handle is a Tx: the right to use a transaction, until it ends. It is safe
// against a function that goes on using it after that, such as a handler whose
// time was over.
type handle struct {
	t *transaction

	use sync.Mutex // held during a call

	mu      sync.Mutex // guards the rest
	ended   bool
	cancels []context.CancelFunc // of statements at work and rows still open
	stmts   []*sql.Stmt
}

// take begins a call: nobody else uses the handle until h.use is unlocked.
func (h *handle) take() error {
	h.use.Lock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		h.use.Unlock()
		return sql.ErrTxDone
	}
	return nil
}

// enter begins a call that talks to the database, and that leave ends. The context
// ends with the handle.
func (h *handle) enter(ctx context.Context) (scoped context.Context, leave func(keep bool), err error) {
	if err := h.take(); err != nil {
		return nil, nil, err
	}
	scoped, cancel := context.WithCancel(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		cancel()
	}
	h.cancels = append(h.cancels, cancel)
	return scoped, func(keep bool) {
		if !keep {
			cancel()
			h.mu.Lock()
			if !h.ended {
				h.cancels = h.cancels[:len(h.cancels)-1]
			}
			h.mu.Unlock()
		}
		h.use.Unlock()
	}, nil
}

// end closes rows and statements left open, interrupts what is still at work and
// makes the handle useless.
func (h *handle) end() {
	h.mu.Lock()
	h.ended = true
	for _, cancel := range h.cancels {
		cancel()
	}
	stmts := h.stmts
	h.mu.Unlock()
	h.use.Lock() // until an interrupted statement has returned
	defer h.use.Unlock()
	for _, s := range stmts {
		_ = s.Close() // the connection frees it at the latest
	}
}

func (h *handle) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave(false)
	return h.t.exec(ctx, query, args)
}

func (h *handle) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave(true)
	if err := h.t.flush(ctx); err != nil {
		return nil, err
	}
	h.t.sent++
	return h.t.conn.QueryContext(ctx, query, args...)
}

func (h *handle) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx, leave, err := h.enter(ctx)
	if err == nil {
		defer leave(true)
		err = h.t.flush(ctx)
	}
	if err != nil {
		// A sql.Row can't be made with an error of one's own. The transaction
		// itself remembers why it failed.
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		return h.t.db.write.QueryRowContext(cancelled, query)
	}
	h.t.sent++
	return h.t.conn.QueryRowContext(ctx, query, args...)
}

func (h *handle) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave(true)
	if err := h.t.flush(ctx); err != nil {
		return nil, err
	}
	stmt, err := h.t.conn.PrepareContext(ctx, query)
	if err == nil {
		h.mu.Lock()
		h.stmts, h.t.direct = append(h.stmts, stmt), true
		h.mu.Unlock()
		h.t.sent++ // it may be executed at any time from now on
	}
	return stmt, err
}

func (h *handle) queue(ctx context.Context, query string, args []any) error {
	if h.t.db.dialect != Postgres || h.t.direct {
		_, err := h.ExecContext(ctx, query, args...)
		return err
	}
	if err := h.take(); err != nil {
		return err
	}
	defer h.use.Unlock()
	if h.t.failed == nil {
		h.t.waiting = append(h.t.waiting, statement{query, args})
	}
	return h.t.failed
}

func (h *handle) flush(ctx context.Context) error {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave(false)
	return h.t.flush(ctx)
}

func (h *handle) read(ctx context.Context, row func(scan func(dest ...any) error) error, query string, args []any) error {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave(false)
	if h.t.failed != nil {
		return h.t.failed
	}
	h.t.waiting = append(h.t.waiting, statement{query, args})
	_, err = h.t.send(ctx, row)
	return err
}

// savepoint runs f and undoes what it did if it, or a statement that it queued,
// has failed.
func (h *handle) savepoint(ctx context.Context, f func(tx Tx) error) error {
	t := h.t
	mark := t.mark()
	if err := h.queue(ctx, "SAVEPOINT own", nil); err != nil {
		return err
	}
	err := t.lend(f)
	if err == nil {
		err = h.flush(ctx)
	}
	if err == nil {
		err = t.check()
	}
	if err == nil {
		return h.queue(ctx, "RELEASE own", nil)
	}
	if t.forget(mark) {
		return err // not even the savepoint has reached the database
	}
	t.waiting, t.failed = t.waiting[:0], nil
	ctx = context.WithoutCancel(ctx)
	if _, undo := t.exec(ctx, "ROLLBACK TO own", nil); undo != nil {
		t.failed = fmt.Errorf("roll back to a savepoint: %w", undo)
		return errors.Join(err, t.failed)
	}
	if undo := h.queue(ctx, "RELEASE own", nil); undo != nil {
		return errors.Join(err, undo)
	}
	return err
}
