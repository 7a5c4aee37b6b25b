package app_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/app/apptest"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// go-metrics, which sarama uses, starts one goroutine a process and never ends it.
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// defaults is the configuration without any setting, but for free ports.
func defaults(t *testing.T) app.Config {
	t.Helper()
	var cli struct {
		Config app.Config `embed:""`
	}
	parser, err := kong.New(&cli, kong.Writers(io.Discard, io.Discard))
	require.NoError(t, err)
	_, err = parser.Parse(nil)
	require.NoError(t, err)
	cli.Config.HTTPAddr, cli.Config.AdminAddr = "127.0.0.1:0", "127.0.0.1:0"
	return cli.Config
}

// instance is a running service.
type instance struct {
	t       *testing.T
	service *app.Service
	api     string
	stop    func()
}

// start runs a service until the test ends or stop is called, through the same
// injector as in production.
func start(t *testing.T, config app.Config, wrap app.BrokerWrapper) *instance {
	t.Helper()
	service, cleanup, err := app.InitializeService(t.Context(), config, wrap, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	listening := make(chan app.Addresses, 1)
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx, true, func(at app.Addresses) { listening <- at }) }()
	i := &instance{t: t, service: service}
	select {
	case at := <-listening:
		i.api = "http://" + at.API.String()
	case err := <-ended:
		cancel()
		require.NoError(t, err, "the service ended")
	}
	stopped := false
	i.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(t, <-ended)
		cleanup()
	}
	t.Cleanup(i.stop)
	return i
}

// ledger compares the tables of the service's database.
func (i *instance) ledger(config app.Config) apptest.Ledger {
	i.t.Helper()
	db, err := database.Open(i.t.Context(), database.Config{URL: config.DatabaseURL, MaxConns: 2})
	require.NoError(i.t, err)
	i.t.Cleanup(func() { require.NoError(i.t, db.Close()) })
	ledger := apptest.Ledger{DB: db}
	if config.Broker == "kafka" {
		ledger.Lag = func(ctx context.Context) (int64, error) {
			var total int64
			for _, topic := range i.service.Router.Topics() {
				lag, err := i.service.Broker.Lag(ctx, topic.Group, topic.Topic)
				if err != nil {
					return 0, err
				}
				total += lag
			}
			return total, nil
		}
	}
	return ledger
}

// each runs f with the configuration for a new database of every kind.
func each(t *testing.T, f func(t *testing.T, config app.Config)) {
	t.Helper()
	for name, url := range map[string]func(testing.TB) string{"sqlite": databasetest.SQLiteURL, "postgres": databasetest.PostgresURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := defaults(t)
			config.DatabaseURL = url(t)
			f(t, config)
		})
	}
}

// loadUntil places orders with a few clients until so many were accepted.
func loadUntil(t *testing.T, api string, orders int) []apptest.Order {
	t.Helper()
	load := apptest.Start(t, func() string { return api }, 4, time.Millisecond)
	apptest.Eventually(t, func() string {
		if load.Accepted() < orders {
			return "more orders"
		}
		return ""
	})
	return load.Stop(t)
}
