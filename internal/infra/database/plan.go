package database

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// byIndex keeps PostgreSQL's planner from anything but a walk along an index.
const byIndex = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
	set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)`

// FollowIndexes has the statements that come after it in tx planned to follow
// indexes. It is for tables that are empty one moment and full the next: the
// planner's statistics of them are wrong most of the time, and a plan is kept for
// as long as they are not updated, so that a backlog would be read and sorted as a
// whole for every batch. The setting ends with the transaction. SQLite doesn't
// need it.
func FollowIndexes(ctx context.Context, tx Tx) error {
	if h, ok := own(tx); !ok || h.t.db.dialect != Postgres {
		return nil
	}
	_, err := Queued(tx).ExecContext(ctx, byIndex)
	return err
}

// ReadByIndex runs a query as [Read] does, outside of any transaction and planned
// as [FollowIndexes] says, in one round trip. On SQLite a statement that writes
// fails here.
func (db *DB) ReadByIndex(ctx context.Context, row func(scan func(dest ...any) error) error, query string, args ...any) error {
	if db.dialect != Postgres {
		rows, err := db.read.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		return eachRow(rows, row)
	}
	err := db.readByIndex(ctx, row, query, args)
	for tries := 1; tries < maxTries && err != nil && isStale(err); tries++ {
		err = db.readByIndex(ctx, row, query, args)
	}
	return err
}

// readByIndex gives row pgx's own rows: database/sql would box and copy every
// value once more.
func (db *DB) readByIndex(ctx context.Context, row func(scan func(dest ...any) error) error, query string, args []any) error {
	conn, err := db.read.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(conn any) (err error) {
		batch := &pgx.Batch{}
		batch.Queue(begin)
		batch.Queue(byIndex)
		batch.Queue(query, args...)
		batch.Queue(commit)
		results := conn.(*stdlib.Conn).Conn().SendBatch(ctx, batch)
		defer func() {
			if closing := results.Close(); err == nil {
				err = closing
			}
		}()
		for range 2 {
			if _, err := results.Exec(); err != nil {
				return err
			}
		}
		return scanAll(results, row)
	})
}

// isStale reports that a pooled connection had died before it got anything.
func isStale(err error) bool { return errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err) }
