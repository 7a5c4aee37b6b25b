package app_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database/databasetest"
)

// A service with nothing to do costs its database less than one statement a
// second, BEGIN, COMMIT and pings included: a heartbeat every 2 s for all
// consumers, and a look at the outbox and one at the dead letters every 5 s.
func TestIdle(t *testing.T) {
	t.Parallel()
	config := defaults(t)
	proxy := databasetest.NewProxy(t, databasetest.PostgresURL(t))
	config.DatabaseURL = proxy.URL
	i := start(t, config, nil)
	require.GreaterOrEqual(t, len(i.service.Router.Consumers()), 3)

	// At the most 6, 3 and 3 in any 10 s. A slow machine makes them fewer, so the
	// only thing to wait for is the end of what a start has to do.
	const window, most = 10 * time.Second, 12
	var sent int64
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		before := proxy.Statements()
		time.Sleep(window)
		if sent = proxy.Statements() - before; sent <= most {
			break
		}
	}
	t.Logf("%d statements in %s", sent, window)
	require.LessOrEqual(t, sent, int64(most))
	require.Positive(t, sent)
}
