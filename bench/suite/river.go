package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverQueue is River (https://riverqueue.com/docs): jobs inserted in the
// producer's transaction, completed in the worker's. It has jobs, not events:
// each consumer gets a job of its own.
type riverQueue struct {
	tuned     bool // 64 workers, 1 ms between fetches
	pool      *pgxpool.Pool
	insert    *river.Client[pgx.Tx]
	consumers int
}

type jobArgs struct {
	Consumer string   `json:"consumer"`
	Event    happened `json:"event"`
}

func (jobArgs) Kind() string { return "happened" }

type worker struct {
	river.WorkerDefaults[jobArgs]
	pool    *pgxpool.Pool
	handled func(int)
}

// Work follows https://riverqueue.com/docs/transactional-job-completion.
func (w *worker) Work(ctx context.Context, job *river.Job[jobArgs]) error {
	tx, err := w.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing to do after the commit
	e := job.Args.Event
	if _, err := tx.Exec(ctx, insertEffect, job.Args.Consumer, e.N, e.Key, e.Note); err != nil {
		return err
	}
	if _, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	w.handled(e.N)
	return nil
}

func (r riverQueue) open(ctx context.Context, url string, consumers int) (system, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 20
	if r.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	driver := riverpgxv5.New(r.pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err == nil {
		_, err = r.pool.Exec(ctx, tables)
	}
	if err == nil {
		r.insert, err = river.NewClient(driver, &river.Config{Logger: slog.New(slog.DiscardHandler)})
	}
	if err != nil {
		r.pool.Close()
		return nil, err
	}
	r.consumers = consumers
	return &r, nil
}

func (r *riverQueue) produce(ctx context.Context, n int) error {
	e := event(n)
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, insertBusiness, e.N, e.Key, e.Note); err != nil {
			return err
		}
		for i := range r.consumers {
			if _, err := r.insert.InsertTx(ctx, tx, jobArgs{Consumer: fmt.Sprint("consumer-", i), Event: e}, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *riverQueue) start(ctx context.Context, consumers int, handled func(int)) (func() error, error) {
	if consumers == 0 {
		return func() error { return nil }, nil // there is nothing to forward
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{pool: r.pool, handled: handled})
	config := &river.Config{Logger: slog.New(slog.DiscardHandler), Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100}}}
	if r.tuned {
		config.FetchCooldown, config.FetchPollInterval = time.Millisecond, 10*time.Millisecond
		config.Queues[river.QueueDefault] = river.QueueConfig{MaxWorkers: 64}
	}
	client, err := river.NewClient(riverpgxv5.New(r.pool), config)
	if err != nil {
		return nil, err
	}
	if err := client.Start(ctx); err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return client.Stop(ctx)
	}, nil
}

func (r *riverQueue) close() error {
	r.pool.Close()
	return nil
}
