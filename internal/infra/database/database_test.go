package database_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setup(t *testing.T, db *database.DB) {
	t.Helper()
	moment := map[database.Dialect]string{database.Postgres: "timestamptz", database.SQLite: "timestamp"}[db.Dialect()]
	_, err := db.ExecContext(t.Context(), `CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL, at `+moment+`)`)
	require.NoError(t, err)
}

func count(t *testing.T, db *database.DB) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM things`).Scan(&n))
	return n
}

func TestInTxCommitsOrNot(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		setup(t, db)
		insert := func(ctx context.Context, tx database.Tx, id int) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO things (id, name) VALUES ($1, 'x')`, id)
			return err
		}
		hooks := 0
		no := errors.New("no")
		err := db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			database.OnCommit(tx, func() { hooks++ })
			require.NoError(t, insert(ctx, tx, 1))
			return no
		})
		require.Equal(t, no, err)
		require.PanicsWithValue(t, "oh", func() {
			_ = db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
				require.NoError(t, insert(ctx, tx, 1))
				panic("oh")
			})
		})
		require.Zero(t, count(t, db))
		require.Zero(t, hooks)

		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			database.OnCommit(tx, func() { hooks++ })
			return insert(ctx, tx, 1)
		}))
		require.Equal(t, 1, count(t, db))
		require.Equal(t, 1, hooks)

		err = db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error { return insert(ctx, tx, 1) })
		require.True(t, database.IsUniqueViolation(err), "%v", err)
		require.False(t, database.IsConflict(err))
		require.False(t, database.IsUnavailable(err))
	})
}

// A handler that swallows a database error doesn't get half its work committed.
func TestSwallowedErrorFailsTheCommit(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	setup(t, db)
	err := db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO things (id, name) VALUES (1, 'x')`)
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, `INSERT INTO things (id, name) VALUES (1, 'x')`)
		require.Error(t, err)
		return nil
	})
	require.ErrorContains(t, err, "database: commit")
	require.Zero(t, count(t, db))
}

func TestDeadlockIsRunAgain(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	setup(t, db)
	_, err := db.ExecContext(t.Context(), `INSERT INTO things (id, name) VALUES (1, ''), (2, '')`)
	require.NoError(t, err)
	var bothHoldOne sync.WaitGroup
	bothHoldOne.Add(2)
	var done sync.WaitGroup
	for _, order := range [][2]int{{1, 2}, {2, 1}} {
		done.Go(func() {
			first := true
			require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
				for i, id := range order {
					if i == 1 && first {
						first = false
						bothHoldOne.Done()
						bothHoldOne.Wait()
					}
					if _, err := tx.ExecContext(ctx, `UPDATE things SET name = name || 'x' WHERE id = $1`, id); err != nil {
						return err
					}
				}
				return nil
			}))
		})
	}
	done.Wait()
	var names string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT string_agg(name, ',') FROM things`).Scan(&names))
	require.Equal(t, "xx,xx", names)
}

// Many writers at a time wait for SQLite's one.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		setup(t, db)
		_, err := db.ExecContext(t.Context(), `INSERT INTO things (id, name) VALUES (1, '')`)
		require.NoError(t, err)
		var writers sync.WaitGroup
		for range 20 {
			writers.Go(func() {
				require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
					_, err := tx.ExecContext(ctx, `UPDATE things SET name = name || 'x' WHERE id = 1`)
					return err
				}))
			})
		}
		writers.Wait()
		var length int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT LENGTH(name) FROM things`).Scan(&length))
		require.Equal(t, 20, length)
	})
}

func TestReadersOfSQLiteCannotWrite(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.SQLiteURL(t))
	setup(t, db)
	var id int
	err := db.QueryRowContext(t.Context(), `INSERT INTO things (id, name) VALUES (1, 'x') RETURNING id`).Scan(&id)
	require.ErrorContains(t, err, "readonly")
}

func TestTimes(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		setup(t, db)
		want := time.Date(2026, 11, 24, 10, 0, 0, 123456000, time.FixedZone("", 3600))
		var returned database.Time
		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			return tx.QueryRowContext(ctx, `INSERT INTO things (id, name, at) VALUES (1, '', $1) RETURNING at`, want).Scan(&returned)
		}))
		_, err := db.ExecContext(t.Context(), `INSERT INTO things (id, name) VALUES (2, '')`)
		require.NoError(t, err)
		var column, aggregate, null database.Time
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT at, (SELECT MAX(at) FROM things) FROM things WHERE at <= $1 AND at > $2`, want, want.Add(-time.Microsecond)).Scan(&column, &aggregate))
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT at FROM things WHERE id = 2`).Scan(&null))
		for _, got := range []database.Time{returned, column, aggregate} {
			require.Equal(t, want.UTC(), got.Time)
			require.Equal(t, want.UTC(), *got.Pointer())
		}
		require.Nil(t, null.Pointer())
		require.EqualError(t, null.Scan("today"), "database: cannot scan string into a time")
	})
}

func TestValuesAndAnyOf(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		setup(t, db)
		_, err := db.ExecContext(t.Context(), `INSERT INTO things (id, name) VALUES `+database.Values(3, 2), 3, "n", 4, "n", 5, "n")
		require.NoError(t, err)
		these, arg := db.AnyOf("id", 2, []int64{3, 5, 4711})
		var n int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM things WHERE name <> $1 AND `+these, "", arg).Scan(&n))
		require.Equal(t, 2, n)
		require.Equal(t, "($1,$2),($3,$4)", database.Values(2, 2))
	})
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		files := fstest.MapFS{}
		for _, dialect := range []string{"postgres", "sqlite"} {
			files["migrations/"+dialect+"/00001_a.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE a (id integer);\n-- +goose Down\nDROP TABLE a;\n")}
			files["migrations/"+dialect+"/00002_b.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE b (id integer);\n-- +goose Down\nDROP TABLE b;\n")}
		}
		own := database.Migrations{Name: "own", Files: files}
		err := db.CheckSchema(t.Context(), database.InfraMigrations(), own)
		require.ErrorIs(t, err, database.ErrSchemaOutdated)
		require.EqualError(t, err, "the database schema is older than this build: own is at version 0, this build needs 2")

		// Several instances may start at once.
		var instances sync.WaitGroup
		var mu sync.Mutex
		var applied []string
		for range 3 {
			instances.Go(func() {
				names, err := db.Migrate(t.Context(), own)
				require.NoError(t, err)
				mu.Lock()
				applied = append(applied, names...)
				mu.Unlock()
			})
			if db.Dialect() == database.SQLite {
				instances.Wait() // one process
			}
		}
		instances.Wait()
		require.Equal(t, []string{"own/00001_a.sql", "own/00002_b.sql"}, applied)
		require.NoError(t, db.CheckSchema(t.Context(), database.InfraMigrations(), own))
	})
}

func TestWakeUps(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		woken, stop := db.Woken("s")
		defer stop()
		other, stopOther := db.Woken("other")
		defer stopOther()
		for range 3 { // coalesced
			require.NoError(t, db.InTx(t.Context(), func(_ context.Context, tx database.Tx) error {
				db.Wake(tx, "s")
				return nil
			}))
		}
		<-woken
		require.Empty(t, woken)
		require.Empty(t, other)
	})
}

func TestWakeUpsBetweenProcesses(t *testing.T) {
	t.Parallel()
	url := databasetest.PostgresURL(t)
	here, there := databasetest.Open(t, url), databasetest.Open(t, url)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	woken, release := there.Woken("s")
	defer release()
	go func() { ended <- there.Listen(ctx, slog.New(slog.DiscardHandler)) }()
	wake := func() {
		require.NoError(t, here.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error { return here.WakeEveryone(ctx, tx, "s") }))
	}
	<-woken // it listens: whatever was missed before counts
	wake()
	<-woken

	// The connection breaks: it comes back by itself, and nothing is missed.
	_, err := here.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`)
	require.NoError(t, err)
	<-woken
	wake()
	<-woken
	stop()
	require.NoError(t, <-ended)
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                         "database: not a database URL",
		"mysql://u:secret@h/d":     "database: not a database URL",
		"sqlite:":                  "database: not a database URL: the file's name is missing",
		"postgres://u:secret@h:x/": "database: not a database URL: it doesn't parse as a URL",
	} {
		_, err := database.Open(t.Context(), database.Config{URL: url})
		require.EqualError(t, err, want)
		require.ErrorIs(t, err, database.ErrURL)
	}
	require.Equal(t, "postgres://u:xxxxx@h/d", database.Redact("postgres://u:secret@h/d"))
	require.Equal(t, "postgres://h/d?password=xxxxx", database.Redact("postgres://h/d?password=secret"))
	require.Equal(t, "(unreadable URL)", database.Redact("postgres://u:secret@h:x/"))

	db, err := database.Open(t.Context(), database.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "new folder?#%", "a.db")})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.NoError(t, db.Close())
}

func TestUnreachableIsUnavailable(t *testing.T) {
	t.Parallel()
	_, err := database.Open(t.Context(), database.Config{URL: "postgres://u:secret@127.0.0.1:1/d?connect_timeout=1"})
	require.True(t, database.IsUnavailable(err), "%v", err)
	require.NotContains(t, err.Error(), "secret")
}
