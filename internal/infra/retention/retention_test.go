package retention_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/inbox"
	"example.com/millwright/internal/infra/retention"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOldRowsGoInBatches(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		insert := func(n int, at time.Time) {
			var values []any
			for i := range n {
				values = append(values, "c", at.Format(time.RFC3339Nano)+string(rune('a'+i)), "s", at)
			}
			require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO processed (consumer, event_id, source, processed_at) VALUES `+database.Values(n, 4), values...)
				return err
			}))
		}
		insert(25, time.Now().Add(-2*time.Hour))
		insert(5, time.Now().Add(-30*time.Minute))

		var batches atomic.Int32
		var log bytes.Buffer
		runner, err := retention.NewRunner(db, []retention.Job{
			{Name: "processed events", Keep: time.Hour, Delete: func(ctx context.Context, tx database.Tx, before time.Time, limit int) (int64, error) {
				batches.Add(1)
				return inbox.Prune(ctx, tx, before, limit)
			}},
			{Name: "kept for ever", Delete: func(context.Context, database.Tx, time.Time, int) (int64, error) { panic("called") }},
		}, retention.Config{Batch: 10}, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		require.NoError(t, runner.RunOnce(t.Context()))
		var left int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM processed`).Scan(&left))
		require.Equal(t, 5, left)
		require.EqualValues(t, 3, batches.Load())
		require.Contains(t, log.String(), `msg="deleted old rows" job="processed events" rows=25 kept=1h0m0s`)
	})
}

func TestFailureIsReportedAndOthersRun(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.SQLiteURL(t))
	var ran atomic.Bool
	runner, err := retention.NewRunner(db, []retention.Job{
		{Name: "broken", Keep: time.Hour, Delete: func(context.Context, database.Tx, time.Time, int) (int64, error) { return 0, errors.New("no") }},
		{Name: "fine", Keep: time.Hour, Delete: func(context.Context, database.Tx, time.Time, int) (int64, error) { ran.Store(true); return 0, nil }},
	}, retention.Config{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.EqualError(t, runner.RunOnce(t.Context()), "retention: broken: no")
	require.True(t, ran.Load())
}

func TestMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	fine := func(context.Context, database.Tx, time.Time, int) (int64, error) { return 0, nil }
	_, err := retention.NewRunner(nil, []retention.Job{{Name: "a", Delete: fine}, {Name: "a", Delete: fine}, {Name: "b"}}, retention.Config{}, nil)
	require.ErrorContains(t, err, `retention: job "a" is there twice`)
	require.ErrorContains(t, err, `retention: job "b": Name and Delete are required`)
}

// One instance at a time: a job that another one has is left to it.
func TestInstancesTakeTurns(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	var calls atomic.Int32
	runner, err := retention.NewRunner(db, []retention.Job{{
		Name: "job", Keep: time.Hour, Delete: func(context.Context, database.Tx, time.Time, int) (int64, error) { calls.Add(1); return 0, nil },
	}}, retention.Config{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	other, err := db.Pool().BeginTx(t.Context(), &sql.TxOptions{})
	require.NoError(t, err)
	_, err = other.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock(hashtext('millwright retention'), hashtext('job'))`)
	require.NoError(t, err)
	require.NoError(t, runner.RunOnce(t.Context()))
	require.Zero(t, calls.Load())
	require.NoError(t, other.Rollback())
	require.NoError(t, runner.RunOnce(t.Context()))
	require.EqualValues(t, 1, calls.Load())
}

func TestRunGoesOnUntilToldToStop(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.SQLiteURL(t))
	calls := make(chan struct{}, 100)
	runner, err := retention.NewRunner(db, []retention.Job{{
		Name: "job", Keep: time.Hour, Delete: func(context.Context, database.Tx, time.Time, int) (int64, error) {
			calls <- struct{}{}
			return 0, errors.New("each time")
		},
	}}, retention.Config{Every: time.Millisecond}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- runner.Run(ctx) }()
	<-calls
	<-calls
	stop()
	require.NoError(t, <-ended)
}
