package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// transaction is an open transaction on a connection of its own. It is not a
// sql.Tx because that sends BEGIN and COMMIT by themselves: here they travel with
// the statements next to them, so that a transaction of two queued writes is one
// round trip.
type transaction struct {
	db   *DB
	conn *sql.Conn

	waiting   []statement // on PostgreSQL: sent with the next statement; BEGIN is the first
	sent      int         // how many statements were executed, or batches of them
	failed    error       // why no statement can be executed any more
	direct    bool        // nothing is queued any more: prepared statements would overtake it
	collected []collection
	onCommit  []func()
}

type statement struct {
	query string
	args  []any
}

const (
	begin  = "BEGIN"
	commit = "COMMIT"
)

// errAborted means that a statement failed, its error was ignored, and so
// PostgreSQL undid everything.
var errAborted = errors.New("the transaction was rolled back because an earlier error in it was ignored")

func (db *DB) begin(ctx context.Context) (*transaction, error) {
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("database: begin: %w", err)
	}
	t := &transaction{db: db, conn: conn}
	if db.dialect == Postgres {
		t.waiting = []statement{{query: begin}}
	} else if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil, errors.Join(fmt.Errorf("database: begin: %w", err), t.close(err))
	}
	return t, nil
}

// exec executes what waits and the statement.
func (t *transaction) exec(ctx context.Context, query string, args []any) (result sql.Result, err error) {
	switch {
	case t.failed != nil:
		return nil, t.failed
	case t.db.dialect != Postgres:
		t.sent++
		return t.conn.ExecContext(ctx, query, args...)
	case len(t.waiting) > 0:
		t.waiting = append(t.waiting, statement{query, args})
		tag, err := t.send(ctx, nil)
		return driver.RowsAffected(tag.RowsAffected()), err
	}
	t.sent++
	err = t.raw(func(conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, query, args...)
		result = driver.RowsAffected(tag.RowsAffected())
		return err
	})
	return result, err
}

// flush executes what waits.
func (t *transaction) flush(ctx context.Context) error {
	if t.failed == nil && len(t.waiting) > 0 {
		_, t.failed = t.send(ctx, nil)
	}
	return t.failed
}

// send executes what waits in one round trip and returns the last one's tag, or
// gives its rows to row. If the last one is not to blame for an error, the
// transaction has failed.
func (t *transaction) send(ctx context.Context, row func(scan func(dest ...any) error) error) (tag pgconn.CommandTag, err error) {
	batch := &pgx.Batch{}
	for _, s := range t.waiting {
		batch.Queue(s.query, s.args...)
	}
	t.sent++
	last := len(t.waiting) - 1
	err = t.raw(func(conn *pgx.Conn) (err error) {
		results := conn.SendBatch(ctx, batch)
		for i := 0; i <= last && err == nil; i++ {
			if i == last && row != nil {
				err = scanAll(results, row)
			} else {
				tag, err = results.Exec()
			}
			if err != nil && i < last {
				if i > 0 { // an error of the first may be one of preparing any
					err = fmt.Errorf("queued statement %q: %w", excerpt(t.waiting[i].query), err)
				}
				t.failed = err
			}
		}
		if closing := results.Close(); err == nil {
			err = closing
		}
		if err != nil && conn.PgConn().TxStatus() == 'I' {
			t.failed = err // there is no transaction: nothing may be executed as if there were
		}
		return err
	})
	t.waiting = t.waiting[:0]
	return tag, err
}

// check finds out whether the transaction can still be committed.
func (t *transaction) check() error {
	if t.failed != nil || t.db.dialect != Postgres {
		return t.failed
	}
	return t.raw(func(conn *pgx.Conn) error {
		if conn.PgConn().TxStatus() == 'E' {
			return errAborted
		}
		return nil
	})
}

func scanAll(results pgx.BatchResults, row func(scan func(dest ...any) error) error) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func excerpt(query string) string {
	query = strings.Join(strings.Fields(query), " ")
	if len(query) > 60 {
		query = query[:60] + "…"
	}
	return query
}

// raw calls f with pgx's own connection.
func (t *transaction) raw(f func(conn *pgx.Conn) error) error {
	return t.conn.Raw(func(conn any) error { return f(conn.(*stdlib.Conn).Conn()) })
}

// commit writes what was collected and commits. If nothing was ever sent, there
// is nothing to do.
func (t *transaction) commit(ctx context.Context, h *handle) error {
	for _, c := range t.collected {
		if err := c.items.write(ctx, h); err != nil {
			return err
		}
	}
	switch {
	case t.failed != nil:
		return t.failed
	case t.db.dialect != Postgres:
		_, err := t.conn.ExecContext(ctx, commit)
		return err
	case len(t.waiting) == 1 && t.waiting[0].query == begin:
		return nil
	}
	t.waiting = append(t.waiting, statement{query: commit})
	tag, err := t.send(ctx, nil)
	if err == nil && tag.String() != commit {
		err = errAborted
	}
	return err
}

// rollbackLimit bounds the wait for a rollback. After that the connection is
// closed, which does the same.
const rollbackLimit = 5 * time.Second

func (t *transaction) rollback(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackLimit)
	defer cancel()
	if t.db.dialect != Postgres {
		_, err := t.conn.ExecContext(ctx, "ROLLBACK")
		return err
	}
	return t.raw(func(conn *pgx.Conn) error {
		if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
			return nil // the server knows of no transaction
		}
		_, err := conn.Exec(ctx, "ROLLBACK")
		return err
	})
}

// close gives the connection back, or drops it if its transaction could not be
// ended.
func (t *transaction) close(broken error) error {
	if broken != nil {
		_ = t.conn.Raw(func(any) error { return driver.ErrBadConn }) // tells the pool
	}
	return ignoreClosed(t.conn.Close())
}

func ignoreClosed(err error) error {
	if errors.Is(err, sql.ErrConnDone) {
		return nil
	}
	return err
}

// mark is a point in a transaction.
type mark struct {
	sent, waiting, hooks int
	collected            []int // how much under each key
}

func (t *transaction) mark() mark {
	m := mark{sent: t.sent, waiting: len(t.waiting), hooks: len(t.onCommit)}
	for _, c := range t.collected {
		m.collected = append(m.collected, c.items.len())
	}
	return m
}

// forget drops what was kept since the mark. It reports whether that was all:
// whether nothing was sent.
func (t *transaction) forget(m mark) bool {
	t.onCommit = t.onCommit[:m.hooks]
	for i, c := range t.collected {
		if i < len(m.collected) {
			c.items.truncate(m.collected[i])
		} else {
			c.items.truncate(0)
		}
	}
	if t.sent > m.sent || t.failed != nil {
		return false
	}
	t.waiting = t.waiting[:m.waiting]
	return true
}

// lend runs f with a handle of its own.
func (t *transaction) lend(f func(tx Tx) error) error {
	h := &handle{t: t}
	defer h.end()
	return f(h)
}
