package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/millwright/internal/infra/database/databasetest"
)

// sample is one figure of one round.
type sample map[string]float64

// measurement is one kind of figure, taken of everybody that takes part.
type measurement struct {
	name    string
	what    string
	entries []entry
}

// entry takes one figure in a fresh database.
type entry struct {
	name string
	take func(ctx context.Context, b *bench, url string) (sample, error)
}

// bench is a run.
type bench struct {
	server  *server
	n       int
	rounds  int
	seconds time.Duration // of a latency measurement
	profile string        // file for a CPU profile of the last figure; "" for none
}

// drain times how fast n events that wait in the outbox are forwarded and
// handled, from the moment the system is running.
func drain(c contender, n, consumers int) entry {
	return entry{c.name, func(ctx context.Context, b *bench, url string) (_ sample, err error) {
		s, err := c.open(ctx, url, consumers)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if err := produceAll(ctx, s, 0, n); err != nil {
			return nil, err
		}
		db, err := openPool(url)
		if err != nil {
			return nil, err
		}
		defer db.Close()
		before, err := b.server.usage(ctx, db)
		if err != nil {
			return nil, err
		}
		want := (n - n*c.failing/100) * consumers
		var handled atomic.Int64
		profiled := b.startProfile()
		start := time.Now()
		stop, err := s.start(ctx, consumers, func(int) { handled.Add(1) })
		if err != nil {
			return nil, err
		}
		err = await(ctx, &handled, int64(want))
		took := rate(n*consumers, start)
		profiled()
		after, usageErr := b.server.usage(ctx, db)
		if err = errors.Join(err, usageErr, letters(ctx, db, n*c.failing/100), stop()); err != nil {
			return nil, err
		}
		if err := verify(ctx, db, want); err != nil {
			return nil, err
		}
		took.add(n*consumers, before, after)
		return took, nil
	}}
}

// add puts in what each of n events has cost.
func (s sample) add(n int, before, after usage) {
	s["µs CPU"] = float64((after.cpu + after.serverCPU - before.cpu - before.serverCPU).Microseconds()) / float64(n)
	s["of it the server's"] = float64((after.serverCPU - before.serverCPU).Microseconds()) / float64(n)
	s["WAL B"] = float64(after.wal-before.wal) / float64(n)
	s["allocs"] = float64(after.allocs-before.allocs) / float64(n)
}

// letters waits for the dead letters of the events that fail for good.
func letters(ctx context.Context, db *sql.DB, want int) error {
	if want == 0 {
		return nil
	}
	deadline := time.Now().Add(patience)
	for {
		var n int
		if err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM dead_letters`).Scan(&n); err != nil {
			return err
		}
		if n == want {
			return nil
		}
		if n > want || time.Now().After(deadline) {
			return fmt.Errorf("%d dead letters, want %d", n, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// produce times the producers' transactions.
func produce(c contender) entry {
	return entry{c.name, func(ctx context.Context, b *bench, url string) (_ sample, err error) {
		s, err := c.open(ctx, url, 1)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		const warm = producers * 20 // connections and statements are prepared
		if err := produceAll(ctx, s, 0, warm); err != nil {
			return nil, err
		}
		profiled := b.startProfile()
		start := time.Now()
		err = produceAll(ctx, s, warm, warm+b.n)
		took := rate(b.n, start)
		profiled()
		return took, err
	}}
}

// rate is n events since start.
func rate(n int, start time.Time) sample {
	return sample{"events/s": float64(n) / time.Since(start).Seconds()}
}

// forward times how fast n events leave the outbox, with nobody to handle them.
func forward(c contender) entry {
	return entry{c.name, func(ctx context.Context, b *bench, url string) (_ sample, err error) {
		s, err := c.open(ctx, url, 1)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		return forwardOf(ctx, b, s.(*millwright))
	}}
}

func forwardOf(ctx context.Context, b *bench, m *millwright) (sample, error) {
	if err := produceAll(ctx, m, 0, b.n); err != nil {
		return nil, err
	}
	start := time.Now()
	stop, err := m.start(ctx, 0, nil)
	if err != nil {
		return nil, err
	}
	for left := true; left && err == nil; time.Sleep(5 * time.Millisecond) {
		left, err = m.unsent(ctx)
	}
	return rate(b.n, start), errors.Join(err, stop())
}

// endToEnd runs producers, forwarder and consumer at once.
func endToEnd(c contender) entry {
	return entry{c.name, func(ctx context.Context, b *bench, url string) (_ sample, err error) {
		s, err := c.open(ctx, url, 1)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		db, err := openPool(url)
		if err != nil {
			return nil, err
		}
		defer db.Close()
		var handled atomic.Int64
		stop, err := s.start(ctx, 1, func(int) { handled.Add(1) })
		if err != nil {
			return nil, err
		}
		before, err := b.server.usage(ctx, db)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		profiled := b.startProfile()
		start := time.Now()
		err = produceAll(ctx, s, 0, b.n)
		produced := time.Since(start)
		if err == nil {
			err = await(ctx, &handled, int64(b.n))
		}
		took := rate(b.n, start)
		profiled()
		after, usageErr := b.server.usage(ctx, db)
		if err = errors.Join(err, usageErr, stop()); err != nil {
			return nil, err
		}
		took["produced/s"] = float64(b.n) / produced.Seconds()
		took.add(b.n, before, after)
		return took, verify(ctx, db, b.n)
	}}
}

// trips counts the round trips to the database, by a proxy that would spoil any
// other figure.
func trips(c contender) entry {
	return entry{c.name, func(ctx context.Context, b *bench, url string) (_ sample, err error) {
		proxy, err := databasetest.OpenProxy(url)
		if err != nil {
			return nil, err
		}
		defer proxy.Close()
		s, err := c.open(ctx, proxy.URL, 1)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		const warm = producers * 20 // connections and statements are prepared
		n := min(b.n, 5000)
		if err := produceAll(ctx, s, 0, warm); err != nil {
			return nil, err
		}
		before := proxy.RoundTrips()
		if err := produceAll(ctx, s, warm, n); err != nil {
			return nil, err
		}
		produced := proxy.RoundTrips()
		var handled atomic.Int64
		stop, err := s.start(ctx, 1, func(int) { handled.Add(1) })
		if err != nil {
			return nil, err
		}
		err = await(ctx, &handled, int64(n))
		drained := proxy.RoundTrips()
		return sample{"produce": float64(produced-before) / float64(n-warm), "drain": float64(drained-produced) / float64(n)}, errors.Join(err, stop())
	}}
}

func checkEffects(ctx context.Context, url string, want int) error {
	db, err := openPool(url)
	if err != nil {
		return err
	}
	defer db.Close()
	return verify(ctx, db, want)
}

// latency is from the producer's commit to the handler's, at a steady rate, by
// the clock of this process: after Commit has returned here, and there.
func latency(c contender, rate int) entry {
	return entry{c.name, func(ctx context.Context, b *bench, url string) (_ sample, err error) {
		s, err := c.open(ctx, url, 1)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		n := int(b.seconds.Seconds() * float64(rate))
		warm := rate
		committed := make([]time.Time, warm+n)
		done := make([]time.Time, warm+n)
		var mu sync.Mutex
		var handled atomic.Int64
		stop, err := s.start(ctx, 1, func(i int) {
			now := time.Now()
			mu.Lock()
			done[i] = now
			mu.Unlock()
			handled.Add(1)
		})
		if err != nil {
			return nil, err
		}
		work := make(chan int, warm+n)
		var wg sync.WaitGroup
		var failed atomic.Value
		for range producers {
			wg.Go(func() {
				for i := range work {
					if err := s.produce(ctx, i); err != nil {
						failed.Store(err)
					}
					now := time.Now()
					mu.Lock()
					committed[i] = now
					mu.Unlock()
				}
			})
		}
		start := time.Now()
		for i := range warm + n { // whether or not those before are done: an open loop
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
			work <- i
		}
		close(work)
		wg.Wait()
		err, _ = failed.Load().(error)
		if err == nil {
			err = await(ctx, &handled, int64(warm+n))
		}
		if err = errors.Join(err, stop()); err != nil {
			return nil, err
		}
		took := make([]float64, n)
		for i := range n { // handled may be seen before the producer has come back from its commit
			took[i] = max(0, float64(done[warm+i].Sub(committed[warm+i]).Microseconds())/1000)
		}
		return sample{"p50 ms": percentile(took, 50), "p99 ms": percentile(took, 99), "p99.9 ms": percentile(took, 99.9)}, checkEffects(ctx, url, warm+n)
	}}
}

// percentile is the value below which p percent lie (nearest rank).
func percentile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	i := int(float64(len(sorted))*p/100+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func median(values []float64) float64 { return percentile(values, 50) }
