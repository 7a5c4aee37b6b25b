package database

import (
	"context"
	"database/sql"
)

// Tx is what code inside a transaction may do: everything but end it. The
// transaction is ended by whoever began it ([DB.InTx], or the inbox for a
// handler). It is the interface that sqlc calls DBTX, so generated queries take
// it as it is.
//
// A Tx belongs to one goroutine and is dead once the function it was given to
// has returned.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// tx is the Tx that InTx hands out. It embeds the interface, not *sql.Tx, so
// that no type assertion reaches Commit.
type tx struct {
	Tx
	onCommit []func()
}

// OnCommit runs f after the transaction that t belongs to has committed, and
// never if it rolls back. f must not block. It panics if t did not come from
// [DB.InTx]: a wake-up silently lost is harder to find than a crash in a test.
func OnCommit(t Tx, f func()) {
	own := t.(*tx)
	own.onCommit = append(own.onCommit, f)
}
