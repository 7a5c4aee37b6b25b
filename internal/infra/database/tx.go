package database

import (
	"context"
	"database/sql"
	"errors"
)

// Tx is what code inside a transaction may do: everything but end it. The
// transaction is ended by whoever began it ([DB.InTx], or the inbox for a
// handler). It is the interface that sqlc calls DBTX, so generated queries take
// it as it is.
//
// A Tx belongs to one goroutine and is dead once the function it was given to
// has returned: its methods then return sql.ErrTxDone.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// Queued returns tx with an ExecContext that doesn't wait for the database: the
// statement is sent together with the next one that is not queued, or with the
// commit. Use it for writes whose result doesn't matter: a round trip less for
// each. Everything that comes after it in the transaction sees its effect.
//
// If a queued statement fails, the transaction has failed: the error comes from
// whatever sent it, at the latest from the commit. The result of a queued
// statement is not known: its methods return [ErrQueued].
//
// Where there are no round trips to save (SQLite, or a Tx that is not [DB.InTx]'s)
// the statement is executed at once.
func Queued(tx Tx) Tx {
	if h, ok := tx.(*handle); ok {
		return queued{h}
	}
	return tx
}

// ErrQueued is what the result of a queued statement answers.
var ErrQueued = errors.New("database: the statement is queued, its result is not known: use the transaction itself to wait for it")

type queued struct{ *handle }

func (q queued) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := q.queue(ctx, query, args); err != nil {
		return nil, err
	}
	return queuedResult{}, nil
}

type queuedResult struct{}

func (queuedResult) LastInsertId() (int64, error) { return 0, ErrQueued }
func (queuedResult) RowsAffected() (int64, error) { return 0, ErrQueued }

// own returns the handle behind a Tx that came from this package.
func own(tx Tx) (*handle, bool) {
	switch tx := tx.(type) {
	case *handle:
		return tx, true
	case queued:
		return tx.handle, true
	}
	return nil, false
}

// OnCommit runs f after the transaction that tx belongs to has committed, and
// never if it rolls back. f must not block. It panics if tx did not come from
// [DB.InTx]: a wake-up silently lost is harder to find than a crash in a test.
func OnCommit(tx Tx, f func()) {
	h, ok := own(tx)
	if !ok {
		panic("database: OnCommit needs a Tx from InTx")
	}
	h.t.onCommit = append(h.t.onCommit, f)
}

// Collect keeps the items until the transaction is about to commit. Then write
// gets all items that were collected under the key, in order, to store them with
// as few statements as it can. Every call with one key must pass the same write.
// A Tx that did not come from [DB.InTx] has nothing to wait for: the items are
// written at once.
func Collect[T any](ctx context.Context, tx Tx, key any, items []T, write func(context.Context, Tx, []T) error) error {
	h, ok := own(tx)
	if !ok {
		return write(ctx, tx, items)
	}
	for _, c := range h.t.collected {
		if c.key == key {
			kept := c.items.(*batch[T])
			kept.items = append(kept.items, items...)
			return nil
		}
	}
	h.t.collected = append(h.t.collected, collection{key: key, items: &batch[T]{items: append([]T(nil), items...), store: write}})
	return nil
}

// collection is what was collected under one key.
type collection struct {
	key   any
	items interface {
		len() int
		truncate(n int)
		write(ctx context.Context, tx Tx) error
	}
}

type batch[T any] struct {
	items []T
	store func(context.Context, Tx, []T) error
}

func (b *batch[T]) len() int       { return len(b.items) }
func (b *batch[T]) truncate(n int) { b.items = b.items[:n] }

func (b *batch[T]) write(ctx context.Context, tx Tx) error {
	if len(b.items) == 0 {
		return nil
	}
	return b.store(ctx, tx, b.items)
}

// Querier is a Tx or a DB.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Read runs a statement that returns rows and calls row with the function that
// scans each of them, in the order in which they come. Unlike QueryContext it
// takes what a Tx has queued along, in the same round trip, and leaves out
// database/sql's conversions, which cost about half of reading many rows.
func Read(ctx context.Context, from Querier, row func(scan func(dest ...any) error) error, query string, args ...any) error {
	if tx, ok := from.(Tx); ok {
		if h, ok := own(tx); ok && h.t.db.dialect == Postgres {
			return h.read(ctx, row, query, args)
		}
	}
	rows, err := from.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return eachRow(rows, row)
}

func eachRow(rows *sql.Rows, row func(scan func(dest ...any) error) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Lend runs f with a Tx of its own on the same transaction, which is dead when f
// has returned: whatever f left behind can't disturb those that come after it.
// If f failed before the database got anything of it, what it queued and
// collected is forgotten, undone is true, and the transaction is as before. tx
// must come from [DB.InTx].
func Lend(tx Tx, f func(tx Tx) error) (undone bool, err error) {
	h, ok := own(tx)
	if !ok {
		panic("database: Lend needs a Tx from InTx")
	}
	mark := h.t.mark()
	if err = h.t.lend(f); err == nil {
		return false, nil
	}
	return h.t.forget(mark), err
}

// Savepoint runs f as [Lend] does, in a savepoint: if f or a statement that it
// queued fails, what f did in the transaction is undone, the rest stays, and the
// error is returned. tx must come from [DB.InTx].
func Savepoint(ctx context.Context, tx Tx, f func(tx Tx) error) error {
	h, ok := own(tx)
	if !ok {
		panic("database: Savepoint needs a Tx from InTx")
	}
	return h.savepoint(ctx, f)
}
