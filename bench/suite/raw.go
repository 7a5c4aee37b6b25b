package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// raw is the database without any machinery: the statements that the others
// can't do without, as fast as a client can send them. Nothing can be faster.
type raw struct {
	pool *pgxpool.Pool
	// oneTrip sends a transaction in one round trip instead of four.
	oneTrip bool
	// batch is how many events share a consumer's transaction.
	batch int
}

const rawTables = tables + processed + `
CREATE TABLE raw_outbox (id bigserial PRIMARY KEY, key text NOT NULL, payload bytea NOT NULL, sent_at timestamptz);
CREATE TABLE raw_log (partition integer NOT NULL, "offset" bigint NOT NULL, key text NOT NULL, payload bytea NOT NULL, PRIMARY KEY (partition, "offset"));`

// entry takes a figure of one of the limits: prepare is not timed.
func (r raw) entry(name string, prepare, f func(r *raw, ctx context.Context, n int) error) entry {
	return entry{"raw: " + name, func(ctx context.Context, b *bench, url string) (sample, error) {
		r, err := r.open(ctx, url)
		if err != nil {
			return nil, err
		}
		defer r.pool.Close()
		if prepare != nil {
			if err := prepare(r, ctx, b.n); err != nil {
				return nil, err
			}
		}
		start := time.Now()
		err = f(r, ctx, b.n)
		return rate(b.n, start), err
	}}
}

func (r raw) open(ctx context.Context, url string) (*raw, error) {
	pool, err := pgxpool.New(ctx, url+"&pool_max_conns=20")
	if err != nil {
		return nil, err
	}
	r.pool = pool
	if _, err := pool.Exec(ctx, rawTables); err != nil {
		pool.Close()
		return nil, err
	}
	return &r, nil
}

func (r *raw) inTx(ctx context.Context, statements *pgx.Batch) error {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if r.oneTrip {
		all := &pgx.Batch{}
		all.Queue("BEGIN")
		all.QueuedQueries = append(all.QueuedQueries, statements.QueuedQueries...)
		all.Queue("COMMIT")
		return conn.SendBatch(ctx, all).Close()
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, q := range statements.QueuedQueries {
			if _, err := tx.Exec(ctx, q.SQL, q.Arguments...); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *raw) produce(ctx context.Context, n int) error {
	return r.each(ctx, n, func(_ int, e happened) *pgx.Batch {
		b := &pgx.Batch{}
		b.Queue(insertBusiness, e.N, e.Key, e.Note)
		b.Queue(`INSERT INTO raw_outbox (key, payload) VALUES ($1, $2)`, e.Key, []byte(e.Note))
		return b
	})
}

// each has the producers commit a transaction for each of n events.
func (r *raw) each(ctx context.Context, n int, statements func(i int, e happened) *pgx.Batch) error {
	group, ctx := errgroup.WithContext(ctx)
	for client := range producers {
		group.Go(func() error {
			for i := client; i < n; i += producers {
				if err := r.inTx(ctx, statements(i, event(i))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// relay moves everything from the outbox to the log, 500 rows a transaction.
func (r *raw) relay(ctx context.Context, n int) error {
	for from := 0; from < n; from += 500 {
		b := &pgx.Batch{}
		b.Queue(`INSERT INTO raw_log SELECT 0, id, key, payload FROM raw_outbox WHERE id > $1 AND id <= $2`, from, from+500)
		b.Queue(`UPDATE raw_outbox SET sent_at = now() WHERE id > $1 AND id <= $2`, from, from+500)
		if err := r.inTx(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// consume applies n effects by as many clients as there are producers.
func (r *raw) consume(ctx context.Context, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	for client := range producers {
		group.Go(func() error {
			for from := client * r.batch; from < n; from += producers * r.batch {
				b := &pgx.Batch{}
				for i := from; i < min(from+r.batch, n); i++ {
					e := event(i)
					b.Queue(`INSERT INTO processed (consumer, event_id) VALUES ('c', $1)`, fmt.Sprint(i))
					b.Queue(insertEffect, "c", e.N, e.Key, e.Note)
				}
				if err := r.inTx(ctx, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// copyIn applies n effects by COPY, in one transaction.
func (r *raw) copyIn(ctx context.Context, n int) error {
	copied, err := r.pool.CopyFrom(ctx, pgx.Identifier{"effects"}, []string{"consumer", "event", "key", "note"}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
		e := event(i)
		return []any{"c", e.N, e.Key, e.Note}, nil
	}))
	if err == nil && copied != int64(n) {
		err = errors.New("copied too few rows")
	}
	return err
}

// sameStatements are those that this project's producer sends, and no more: its
// tables, its columns, one round trip.
func sameStatements() entry {
	return entry{"raw: millwright's statements, 1 round trip", func(ctx context.Context, b *bench, url string) (_ sample, err error) {
		s, err := variant{}.open(ctx, url, 1)
		if err != nil {
			return nil, err
		}
		m := s.(*millwright)
		defer func() { err = errors.Join(err, m.close()) }()
		if err := m.produce(ctx, -1); err != nil {
			return nil, err
		}
		var payload []byte
		if err := m.db.QueryRowContext(ctx, `SELECT payload FROM outbox`).Scan(&payload); err != nil {
			return nil, err
		}
		pool, err := pgxpool.New(ctx, url+"&pool_max_conns=20")
		if err != nil {
			return nil, err
		}
		defer pool.Close()
		start := time.Now()
		err = (&raw{pool: pool, oneTrip: true}).each(ctx, b.n, func(i int, e happened) *pgx.Batch {
			t := &pgx.Batch{}
			t.Queue(insertBusiness, e.N, e.Key, e.Note)
			t.Queue(`INSERT INTO outbox (topic, created_at, partition, key_hash, partition_key, event_id, event_type, metadata, payload)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
				"bench", time.Now(), i%16, i, e.Key, fmt.Sprintf("01a20bdf-cdd8-7e7f-bccc-%012d", i), "bench.happened", `{"content-type":"application/cloudevents+json"}`, payload)
			return t
		})
		return rate(b.n, start), err
	}}
}
