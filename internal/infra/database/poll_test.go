package database_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

// A poll after a rest is one statement, and finds out by itself that its
// connection has died meanwhile.
func TestPoll(t *testing.T) {
	t.Parallel()
	proxy := databasetest.NewProxy(t, databasetest.PostgresURL(t))
	db, err := database.Open(t.Context(), database.Config{URL: proxy.URL, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	admin := databasetest.Open(t, proxy.URL)

	runs, pid := 0, 0
	poll := func() error {
		runs = 0
		return db.Poll(t.Context(), func(ctx context.Context) error {
			runs++
			return db.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&pid)
		})
	}
	require.NoError(t, poll())
	time.Sleep(1100 * time.Millisecond) // the rest after which others ask first
	before := proxy.Statements()
	require.NoError(t, poll())
	require.EqualValues(t, 1, proxy.Statements()-before)
	require.Equal(t, 1, runs)

	first := pid
	_, err = admin.ExecContext(t.Context(), `SELECT pg_terminate_backend($1, 10000)`, first)
	require.NoError(t, err)
	time.Sleep(1100 * time.Millisecond)
	require.NoError(t, poll())
	require.Equal(t, 2, runs)
	require.NotEqual(t, first, pid)

	_, err = admin.ExecContext(t.Context(), `SELECT 1 / 0`)
	require.Error(t, err)
	runs = 0
	require.Equal(t, err, admin.Poll(t.Context(), func(context.Context) error { runs++; return err }))
	require.Equal(t, 1, runs, "the statement's own fault is not tried again")
}
