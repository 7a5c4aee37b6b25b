package sqlqueue_test

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/brokertest"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Watermill's suite leaves its own subscriber multiplier behind.
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe.func2"),
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe.func3"))
}

// instance is a broker with a database of its own, as in a process of its own.
type instance struct {
	*sqlqueue.Broker
	close func() error
}

func (i instance) Close() error { return i.close() }

func open(t *testing.T, url string) broker.Broker {
	t.Helper()
	// Few connections: the suite has many instances open together.
	db, err := database.Open(t.Context(), database.Config{URL: url, MaxConns: 4})
	require.NoError(t, err)
	b := sqlqueue.New(db, sqlqueue.Config{CloseTimeout: time.Second, Lease: 3 * time.Second}, slog.New(slog.DiscardHandler))
	return instance{b, func() error {
		if err := b.Close(); err != nil {
			return err
		}
		return db.Close()
	}}
}

func TestConformanceOnPostgres(t *testing.T) {
	url := databasetest.PostgresURL(t)
	databasetest.Open(t, url, sqlqueue.Migrations())
	brokertest.Run(t, brokertest.Harness{
		Open:   func(t *testing.T) broker.Broker { return open(t, url) },
		Outage: func(t *testing.T) func() { return lockOut(t, url) },
	})
}

// On SQLite all instances are in one process and share its database.
func TestConformanceOnSQLite(t *testing.T) {
	db := databasetest.Open(t, databasetest.SQLiteURL(t), sqlqueue.Migrations())
	brokertest.Run(t, brokertest.Harness{
		Open: func(t *testing.T) broker.Broker {
			return sqlqueue.New(db, sqlqueue.Config{CloseTimeout: time.Second, Lease: 3 * time.Second}, slog.New(slog.DiscardHandler))
		},
	})
}

// lockOut cuts all connections to the database and lets nobody in until end.
func lockOut(t *testing.T, databaseURL string) (end func()) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	name := path.Base(u.Path)
	admin, err := database.Open(t.Context(), database.Config{URL: os.Getenv(databasetest.Env), MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	_, err = admin.ExecContext(t.Context(), fmt.Sprintf(`ALTER DATABASE %s WITH ALLOW_CONNECTIONS false`, name))
	require.NoError(t, err)
	_, err = admin.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, name)
	require.NoError(t, err)
	return func() {
		_, err := admin.ExecContext(t.Context(), fmt.Sprintf(`ALTER DATABASE %s WITH ALLOW_CONNECTIONS true`, name))
		require.NoError(t, err)
	}
}
