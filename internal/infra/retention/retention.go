// Package retention keeps every table small without anyone's help.
package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"example.com/millwright/internal/infra/database"
)

// Job deletes what a table no longer needs.
type Job struct {
	// Name says what is deleted, in logs.
	Name string
	// DB is where. Defaults to the service's database.
	DB *database.DB
	// Keep is for how long a row is kept. Zero or less keeps it for ever.
	Keep time.Duration
	// Delete removes up to limit rows older than before, within tx, and returns
	// how many.
	Delete func(ctx context.Context, tx database.Tx, before time.Time, limit int) (int64, error)
}

// Config tunes the runner.
type Config struct {
	// Every is the pause between two runs. Defaults to 10m.
	Every time.Duration
	// Batch is how many rows one transaction deletes at most, so that nobody
	// waits long for it. Defaults to 1000.
	Batch int
}

// Runner runs the jobs.
type Runner struct {
	db     *database.DB
	jobs   []Job
	config Config
	logger *slog.Logger
}

// NewRunner returns a runner of the jobs. All problems are reported at once.
func NewRunner(db *database.DB, jobs []Job, config Config, logger *slog.Logger) (*Runner, error) {
	config.Every = cmp.Or(config.Every, 10*time.Minute)
	config.Batch = cmp.Or(config.Batch, 1000)
	var problems []error
	names := map[string]bool{}
	for _, job := range jobs {
		if job.Name == "" || job.Delete == nil {
			problems = append(problems, fmt.Errorf("retention: job %q: Name and Delete are required", job.Name))
		}
		if names[job.Name] {
			problems = append(problems, fmt.Errorf("retention: job %q is there twice", job.Name))
		}
		names[job.Name] = true
	}
	return &Runner{db: db, jobs: jobs, config: config, logger: logger}, errors.Join(problems...)
}

// Run runs the jobs now and then until ctx is done, and returns nil. A failure
// is logged and tried again at the next run.
func (r *Runner) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := r.RunOnce(ctx); err != nil && ctx.Err() == nil {
			r.logger.WarnContext(ctx, "retention failed", "error", err, "retry_in", r.config.Every)
		}
		timer.Reset(r.config.Every)
	}
}

// RunOnce runs each job until nothing old is left. Instances on one PostgreSQL
// take turns: one that finds another at work leaves the job to it.
func (r *Runner) RunOnce(ctx context.Context) error {
	var problems []error
	for _, job := range r.jobs {
		if job.Keep <= 0 {
			continue
		}
		started := time.Now()
		deleted, err := r.run(ctx, job)
		if err != nil {
			problems = append(problems, fmt.Errorf("retention: %s: %w", job.Name, err))
		}
		if deleted > 0 {
			r.logger.InfoContext(ctx, "deleted old rows", "job", job.Name, "rows", deleted, "kept", job.Keep.String(), "took", time.Since(started).String())
		}
	}
	return errors.Join(problems...)
}

func (r *Runner) run(ctx context.Context, job Job) (total int64, err error) {
	db := r.db
	if job.DB != nil {
		db = job.DB
	}
	for {
		var deleted int64
		err := db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
			mine, err := lock(ctx, db, tx, job.Name)
			if err != nil || !mine {
				return err
			}
			now, err := db.Now(ctx, tx)
			if err != nil {
				return err
			}
			if err := database.FollowIndexes(ctx, tx); err != nil {
				return err
			}
			deleted, err = job.Delete(ctx, tx, now.Add(-job.Keep), r.config.Batch)
			return err
		})
		total += deleted
		if err != nil || deleted < int64(r.config.Batch) {
			return total, err
		}
	}
}

// lock takes the job for the length of tx, if no other instance has it.
func lock(ctx context.Context, db *database.DB, tx database.Tx, job string) (mine bool, err error) {
	if db.Dialect() == database.SQLite {
		return true, nil
	}
	err = tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock(hashtext('millwright retention'), hashtext($1))`, job).Scan(&mine)
	return mine, err
}
