// Package databasetest gives a test a database of its own.
package databasetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
)

// Env names the variable that holds the URL of a PostgreSQL server on which
// tests may create databases.
const Env = "TEST_DATABASE_URL"

// Each runs f against a new, empty database of every kind: SQLite always,
// PostgreSQL where [Env] names a server. The subtests run in parallel.
func Each(t *testing.T, f func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f(t, Open(t, SQLiteURL(t)))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		f(t, Open(t, PostgresURL(t)))
	})
}

// Open opens the database and migrates the machinery's tables and the given
// sequences. It is closed when the test ends.
func Open(t testing.TB, url string, sequences ...database.Migrations) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), database.Config{URL: url})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.Migrate(t.Context(), append([]database.Migrations{database.InfraMigrations()}, sequences...)...)
	require.NoError(t, err)
	return db
}

// SQLiteURL names a file that is gone when the test ends.
func SQLiteURL(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "test.db")
}

// PostgresURL creates a database that is dropped when the test ends. Without a
// server it skips the test, or fails it where REQUIRE_SERVICES=1.
func PostgresURL(t testing.TB) string {
	t.Helper()
	server := os.Getenv(Env)
	if server == "" {
		if os.Getenv("REQUIRE_SERVICES") == "1" {
			t.Fatalf("%s is not set, and REQUIRE_SERVICES=1 forbids skipping", Env)
		}
		t.Skipf("no PostgreSQL: set %s to run this test", Env)
	}
	admin, err := database.Open(t.Context(), database.Config{URL: server, MaxConns: 1})
	require.NoError(t, err)
	name := "test_" + strings.ToLower(rand.Text())
	_, err = admin.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		require.NoError(t, err)
		require.NoError(t, admin.Close())
	})
	u, err := url.Parse(server)
	require.NoError(t, err, fmt.Sprintf("%s is not a URL", Env))
	u.Path = "/" + name
	return u.String()
}
