package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// The work is the same for everybody: a producer's transaction inserts a row of
// its business and the event; a consumer's inserts a row of its effect, once an
// event.
const (
	keys      = 500
	producers = 8
	tables    = `
CREATE TABLE business (id bigint PRIMARY KEY, key text NOT NULL, note text NOT NULL);
CREATE TABLE effects (consumer text NOT NULL, event bigint NOT NULL, key text NOT NULL, note text NOT NULL);`
	insertBusiness = `INSERT INTO business (id, key, note) VALUES ($1, $2, $3)`
	insertEffect   = `INSERT INTO effects (consumer, event, key, note) VALUES ($1, $2, $3, $4)`
)

// happened is the event: about 300 bytes of JSON.
type happened struct {
	N    int    `json:"n"`
	Key  string `json:"key"`
	Note string `json:"note"`
}

var note = strings.Repeat("All work and no play makes Jack a dull boy. ", 6)

func event(n int) happened { return happened{N: n, Key: fmt.Sprint("key-", n%keys), Note: note} }

// system is a way to do the work.
type system interface {
	// produce commits one business row together with its event.
	produce(ctx context.Context, n int) error
	// start begins to forward and, with consumers > 0, to handle, and returns
	// when everything is running. handled is called after each commit of an effect.
	start(ctx context.Context, consumers int, handled func(n int)) (stop func() error, err error)
	close() error
}

// contender is a system that takes part.
type contender struct {
	name string
	// failing is how many of a hundred events fail for good.
	failing int
	// open makes the tables. Every event is for so many consumers.
	open func(ctx context.Context, url string, consumers int) (system, error)
}

// produceAll produces the events from…to-1 by several producers at a time.
func produceAll(ctx context.Context, s system, from, to int) error {
	var next atomic.Int64
	next.Store(int64(from))
	group, ctx := errgroup.WithContext(ctx)
	for range producers {
		group.Go(func() error {
			for {
				n := int(next.Add(1)) - 1
				if n >= to || ctx.Err() != nil {
					return ctx.Err()
				}
				if err := s.produce(ctx, n); err != nil {
					return fmt.Errorf("produce: %w", err)
				}
			}
		})
	}
	return group.Wait()
}

// patience is how long nothing may happen before a measurement is given up.
const patience = 60 * time.Second

// await waits until done effects were counted.
func await(ctx context.Context, count *atomic.Int64, want int64) error {
	last, since := int64(-1), time.Now()
	for {
		now := count.Load()
		if now >= want {
			return nil
		}
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > patience {
			return fmt.Errorf("no progress for %s at %d of %d", patience, now, want)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// verify counts the effects: a figure of work that was lost or done twice is
// none.
func verify(ctx context.Context, db *sql.DB, want int) error {
	var rows, distinct int
	if err := db.QueryRowContext(ctx, `SELECT COUNT(*), COUNT(DISTINCT (consumer || ' ' || event)) FROM effects`).Scan(&rows, &distinct); err != nil {
		return err
	}
	if rows != want || distinct != want {
		return fmt.Errorf("%d effects of %d events, want %d", rows, distinct, want)
	}
	return nil
}
