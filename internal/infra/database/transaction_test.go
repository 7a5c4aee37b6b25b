package database_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

func insert(ctx context.Context, tx database.Tx, id int) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO things (id, name) VALUES ($1, 'x')`, id)
	return err
}

func names(t *testing.T, db *database.DB) (ids []int) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT id FROM things ORDER BY id`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id int
		require.NoError(t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(t, rows.Err())
	return ids
}

func TestQueuedWritesAreSeenByWhatComesAfter(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		setup(t, db)
		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			queued := database.Queued(tx)
			require.NoError(t, insert(ctx, queued, 1))
			var n int
			require.NoError(t, tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM things`).Scan(&n))
			require.Equal(t, 1, n)
			require.NoError(t, insert(ctx, queued, 2))
			result, err := tx.ExecContext(ctx, `UPDATE things SET name = 'y'`)
			require.NoError(t, err)
			changed, err := result.RowsAffected()
			require.NoError(t, err)
			require.EqualValues(t, 2, changed)
			require.NoError(t, insert(ctx, queued, 3))
			require.NoError(t, queued.QueryRowContext(ctx, `SELECT COUNT(*) FROM things`).Scan(&n))
			require.Equal(t, 3, n)
			require.NoError(t, insert(ctx, queued, 4))
			var read []int
			require.NoError(t, database.Read(ctx, tx, func(scan func(...any) error) error {
				read = append(read, 0)
				return scan(&read[len(read)-1])
			}, `UPDATE things SET name = $1 WHERE id > 2 RETURNING id`, "z"))
			require.ElementsMatch(t, []int{3, 4}, read)
			require.NoError(t, insert(ctx, queued, 5))
			stmt, err := tx.PrepareContext(ctx, `DELETE FROM things WHERE id = $1`)
			require.NoError(t, err)
			require.NoError(t, insert(ctx, queued, 6))
			for id := 5; id <= 6; id++ {
				result, err := stmt.ExecContext(ctx, id)
				require.NoError(t, err)
				changed, err := result.RowsAffected()
				require.NoError(t, err)
				require.EqualValues(t, 1, changed)
			}
			return insert(ctx, queued, 7)
		}))
		require.Equal(t, []int{1, 2, 3, 4, 7}, names(t, db))
	})
}

func TestQueuedFailure(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	setup(t, db)
	bad := func(ctx context.Context, tx database.Tx) {
		result, err := database.Queued(tx).ExecContext(ctx, `INSERT INTO things (id, name) VALUES (1, NULL)`)
		require.NoError(t, err)
		_, err = result.RowsAffected()
		require.ErrorIs(t, err, database.ErrQueued)
		_, err = result.LastInsertId()
		require.ErrorIs(t, err, database.ErrQueued)
	}
	for name, after := range map[string]func(ctx context.Context, tx database.Tx) error{
		"at the commit": func(context.Context, database.Tx) error { return nil },
		"at a statement whose error is ignored": func(ctx context.Context, tx database.Tx) error {
			require.ErrorContains(t, insert(ctx, tx, 2), `queued statement "INSERT INTO things (id, name) VALUES (1, NULL)": ERROR: null value`)
			require.ErrorContains(t, insert(ctx, tx, 2), "null value")
			return nil
		},
		"at a row": func(ctx context.Context, tx database.Tx) error {
			var n int
			return tx.QueryRowContext(ctx, `SELECT 1`).Scan(&n)
		},
		"at rows": func(ctx context.Context, tx database.Tx) error {
			_, err := tx.QueryContext(ctx, `SELECT 1`)
			return err
		},
	} {
		err := db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			require.NoError(t, insert(ctx, database.Queued(tx), 7))
			bad(ctx, tx)
			return after(ctx, tx)
		})
		require.ErrorContains(t, err, "null value", name)
		require.Zero(t, count(t, db), name)
	}
	// What can't even be encoded takes BEGIN down with it: nothing may then run
	// without a transaction.
	err := db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO things (id, name) VALUES ($1, 'x')`, make(chan int))
		require.ErrorContains(t, err, "encode")
		require.Error(t, insert(ctx, tx, 2))
		return nil
	})
	require.ErrorContains(t, err, "encode")
	require.Zero(t, count(t, db))
	require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error { return insert(ctx, tx, 3) }), "the pool is fine")
}

func TestSavepoint(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		setup(t, db)
		no := errors.New("no")
		hooks := 0
		var stored []string
		collect := func(ctx context.Context, tx database.Tx, item string) {
			require.NoError(t, database.Collect(ctx, tx, "key", []string{item}, func(_ context.Context, _ database.Tx, items []string) error {
				stored = append(stored, items...)
				return nil
			}))
		}
		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			for id := 1; id <= 6; id++ {
				err := database.Savepoint(ctx, tx, func(tx database.Tx) error {
					database.OnCommit(tx, func() { hooks++ })
					collect(ctx, tx, fmt.Sprint(id))
					to := tx
					if id%2 == 0 {
						to = database.Queued(tx)
					}
					require.NoError(t, insert(ctx, to, id))
					switch id {
					case 2, 3: // an error of its own, after a queued and after a sent write
						return no
					case 4: // an error of the database
						return insert(ctx, tx, 1)
					case 5: // the same, ignored
						_ = insert(ctx, tx, 1)
					}
					return nil
				})
				switch {
				case id == 2 || id == 3:
					require.Equal(t, no, err)
				case id == 4:
					require.True(t, database.IsUniqueViolation(err), "%v", err)
				case id == 5 && db.Dialect() == database.Postgres:
					require.ErrorContains(t, err, "an earlier error in it was ignored")
				default:
					require.NoError(t, err)
				}
			}
			return nil
		}))
		want := []string{"1", "6"}
		if db.Dialect() == database.SQLite { // an ignored error undoes its statement only
			want = []string{"1", "5", "6"}
		}
		require.Equal(t, want, stored)
		require.Len(t, names(t, db), len(want))
		require.Equal(t, len(want), hooks)
	})
}

func TestLend(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		setup(t, db)
		no := errors.New("no")
		var kept database.Tx
		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			require.NoError(t, insert(ctx, tx, 1))
			undone, err := database.Lend(tx, func(tx database.Tx) error {
				kept = tx
				if err := insert(ctx, database.Queued(tx), 2); err != nil {
					return err
				}
				return no
			})
			require.Equal(t, no, err)
			require.Equal(t, db.Dialect() == database.Postgres, undone, "SQLite has nothing to wait for")
			require.ErrorIs(t, insert(ctx, kept, 3), sql.ErrTxDone)
			require.ErrorIs(t, insert(ctx, database.Queued(kept), 3), sql.ErrTxDone)
			_, err = kept.QueryContext(ctx, `SELECT 1`)
			require.ErrorIs(t, err, sql.ErrTxDone)
			_, err = kept.PrepareContext(ctx, `SELECT 1`)
			require.ErrorIs(t, err, sql.ErrTxDone)
			require.Error(t, kept.QueryRowContext(ctx, `SELECT 1`).Err())

			undone, err = database.Lend(tx, func(tx database.Tx) error {
				require.NoError(t, insert(ctx, tx, 4))
				return no
			})
			require.Equal(t, no, err)
			require.False(t, undone)

			// Rows left open don't keep the transaction from going on.
			_, err = database.Lend(tx, func(tx database.Tx) error {
				rows, err := tx.QueryContext(ctx, `SELECT id FROM things`)
				require.NoError(t, err)
				require.True(t, rows.Next())
				require.NoError(t, rows.Close())
				return nil
			})
			return err
		}))
		require.Subset(t, names(t, db), []int{1, 4})
	})
}

// A handler whose time is over may sit in a statement when its transaction ends.
func TestAbandonedStatementIsInterrupted(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	setup(t, db)
	returned := make(chan error, 1)
	no := errors.New("no")
	started := time.Now()
	err := db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
		require.NoError(t, insert(ctx, tx, 1))
		go func() {
			_, err := tx.ExecContext(context.Background(), `SELECT pg_sleep(600)`)
			returned <- err
		}()
		time.Sleep(100 * time.Millisecond)
		return no
	})
	require.ErrorIs(t, err, no)
	require.Error(t, <-returned)
	require.Less(t, time.Since(started), time.Minute)
	require.Zero(t, count(t, db))
}

// BEGIN and COMMIT travel with what is next to them.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	proxy := databasetest.NewProxy(t, databasetest.PostgresURL(t))
	db := databasetest.Open(t, proxy.URL)
	setup(t, db)
	id := 0
	inTx := func(f func(ctx context.Context, tx database.Tx) error) int64 {
		var took int64
		for range 2 { // the first prepares the statements
			before := proxy.RoundTrips()
			require.NoError(t, db.InTx(t.Context(), f))
			took = proxy.RoundTrips() - before
		}
		return took
	}
	next := func(ctx context.Context, tx database.Tx) error {
		id++
		return insert(ctx, tx, id)
	}
	require.EqualValues(t, 0, inTx(func(context.Context, database.Tx) error { return nil }))
	require.EqualValues(t, 1, inTx(func(ctx context.Context, tx database.Tx) error {
		return errors.Join(next(ctx, database.Queued(tx)), next(ctx, database.Queued(tx)), next(ctx, database.Queued(tx)))
	}))
	require.EqualValues(t, 2, inTx(next), "the write with BEGIN, and COMMIT")
	require.EqualValues(t, 2, inTx(func(ctx context.Context, tx database.Tx) error {
		if err := next(ctx, database.Queued(tx)); err != nil {
			return err
		}
		return database.Read(ctx, tx, func(func(...any) error) error { return nil }, `SELECT 1 FROM things`)
	}))
}

func TestInsertRows(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		types := map[database.Dialect]string{database.Postgres: "bytea, at timestamptz", database.SQLite: "blob, at timestamp"}[db.Dialect()]
		_, err := db.ExecContext(t.Context(), `CREATE TABLE r (id integer PRIMARY KEY, name text NOT NULL, data `+types+`)`)
		require.NoError(t, err)
		at := time.Date(2026, 11, 24, 10, 0, 0, 123456000, time.UTC)
		for n, want := range map[int]int{0: 0, 1: 1, 64: 64, 65: 65, 500: 500} {
			ids, names, data, times := make([]int64, n), make([]string, n), make([][]byte, n), make([]time.Time, n)
			for i := range n {
				ids[i], names[i], data[i], times[i] = int64(i), fmt.Sprint("n", i), []byte{0, byte(i)}, at
			}
			require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
				if _, err := tx.ExecContext(ctx, `DELETE FROM r`); err != nil {
					return err
				}
				return db.InsertRows(ctx, tx, "r", database.Integers("id", ids), database.Strings("name", names), database.ByteStrings("data", data), database.Times("at", times))
			}))
			var got int
			require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM r`).Scan(&got))
			require.Equal(t, want, got)
			if n > 0 {
				var name string
				var payload []byte
				var when database.Time
				require.NoError(t, db.QueryRowContext(t.Context(), `SELECT name, data, at FROM r WHERE id = $1`, n-1).Scan(&name, &payload, &when))
				require.Equal(t, fmt.Sprint("n", n-1), name)
				require.Equal(t, []byte{0, byte(n - 1)}, payload)
				require.Equal(t, at, when.Time)
			}
		}
	})
}
