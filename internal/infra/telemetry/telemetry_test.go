package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/outbox"
	"example.com/millwright/internal/infra/telemetry"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return r.Code, r.Body.String()
}

func TestReadinessNamesWhatIsNotReady(t *testing.T) {
	t.Parallel()
	var broken error
	admin := telemetry.NewAdmin(telemetry.NewRegistry(), telemetry.Checks{
		"database": func(context.Context) error { return nil },
		"broker":   func(context.Context) error { return broken },
	})
	code, body := get(t, admin, "/readyz")
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"status":"ready","checks":{"database":"ok","broker":"ok"}}`, body)

	broken = errors.New("connection refused")
	code, body = get(t, admin, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.JSONEq(t, `{"status":"not ready","checks":{"database":"ok","broker":"connection refused"}}`, body)

	code, body = get(t, admin, "/healthz")
	require.Equal(t, http.StatusOK, code, "alive all the same")
	require.JSONEq(t, `{"status":"ok"}`, body)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		logger := slog.New(slog.DiscardHandler)
		registry := telemetry.NewRegistry()
		registry.MustRegister(telemetry.NewTables(outbox.NewStore(db), deadletter.NewStore(db, deadletter.Config{}, logger), logger))
		admin := telemetry.NewAdmin(registry, nil)
		code, body := get(t, admin, "/metrics")
		require.Equal(t, http.StatusOK, code)
		for _, line := range []string{"outbox_unsent_events 0", "outbox_oldest_unsent_age_seconds 0", "outbox_set_aside_events 0", `dead_letters{state="dead"} 0`, "go_goroutines"} {
			require.Contains(t, body, line)
		}
		// Without its tables the rest is still served.
		_, err := db.ExecContext(t.Context(), `DROP TABLE outbox`)
		require.NoError(t, err)
		code, body = get(t, admin, "/metrics")
		require.Equal(t, http.StatusOK, code)
		require.NotContains(t, body, "outbox_unsent_events")
		require.Contains(t, body, "go_goroutines")
	})
}

func TestLogger(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]slog.Level{"debug": slog.LevelDebug, "INFO": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		level, err := telemetry.ParseLevel(name)
		require.NoError(t, err)
		require.Equal(t, want, level)
	}
	for _, name := range []string{"", "loud", "info+2"} {
		_, err := telemetry.ParseLevel(name)
		require.ErrorContains(t, err, "is not a log level: use debug, info, warn or error")
	}
	var out bytes.Buffer
	telemetry.NewLogger(&out, slog.LevelWarn, telemetry.FormatJSON).Warn("x", "n", 1)
	require.Contains(t, out.String(), `"msg":"x","n":1}`)
	out.Reset()
	logger := telemetry.NewLogger(&out, slog.LevelWarn, telemetry.FormatText)
	logger.Info("quiet")
	logger.Warn("x")
	require.Contains(t, out.String(), "level=WARN msg=x")
	require.NotContains(t, out.String(), "quiet")
}
