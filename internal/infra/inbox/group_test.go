package inbox_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/inbox"
)

// crowd delivers many events at once, so that they share transactions.
type crowd struct {
	t      *testing.T
	db     *database.DB
	handle func(ctx context.Context, tx database.Tx, id string) error
	wrap   message.HandlerMiddleware

	deliveries int
	hold       time.Duration // of the first group; not needed to pass, only for full groups after it
}

func newCrowd(t *testing.T, db *database.DB, concurrency int, handle func(ctx context.Context, tx database.Tx, id string) error) *crowd {
	t.Helper()
	_, err := db.ExecContext(t.Context(), `CREATE TABLE applied (event_id text NOT NULL CHECK (event_id <> 'refused'))`)
	require.NoError(t, err)
	return &crowd{t: t, db: db, handle: handle, wrap: inbox.New(db, slog.New(slog.DiscardHandler)).Transaction("c", concurrency, false), hold: 50 * time.Millisecond}
}

func apply(ctx context.Context, tx database.Tx, id string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO applied (event_id) VALUES ($1)`, id)
	return err
}

// deliver returns what became of each. The first group is held up until all
// others wait, so that these make up full groups.
func (c *crowd) deliver(ids ...string) map[string]error {
	c.t.Helper()
	gate, started := make(chan struct{}), make(chan struct{})
	c.deliveries++
	first := fmt.Sprint("first", c.deliveries)
	h := c.wrap(func(m *message.Message) ([]*message.Message, error) {
		if m.UUID == first {
			close(started)
			<-gate
			return nil, nil
		}
		tx, _ := inbox.Tx(m.Context())
		return nil, c.handle(m.Context(), tx, m.UUID)
	})
	var mu sync.Mutex
	var deliveries sync.WaitGroup
	outcomes := map[string]error{}
	send := func(id string) {
		deliveries.Go(func() {
			_, err := h(delivery(c.t.Context(), id))
			mu.Lock()
			defer mu.Unlock()
			outcomes[id] = err
		})
	}
	send(first)
	<-started
	for _, id := range ids {
		send(id)
	}
	time.Sleep(c.hold)
	close(gate)
	deliveries.Wait()
	delete(outcomes, first)
	return outcomes
}

func (c *crowd) strings(query string) (list []string) {
	c.t.Helper()
	rows, err := c.db.QueryContext(c.t.Context(), query)
	require.NoError(c.t, err)
	defer rows.Close()
	for rows.Next() {
		var s string
		require.NoError(c.t, rows.Scan(&s))
		list = append(list, s)
	}
	require.NoError(c.t, rows.Err())
	return list
}

// check compares tables and outcomes: exactly the events that failed are missing.
func (c *crowd) check(outcomes map[string]error, failed func(id string) bool) {
	c.t.Helper()
	var want []string
	for id, err := range outcomes {
		require.Equal(c.t, failed(id), err != nil, "%s: %v", id, err)
		if err == nil {
			want = append(want, id)
		}
	}
	slices.Sort(want)
	require.Equal(c.t, want, c.strings(`SELECT event_id FROM applied ORDER BY event_id`))
	require.Equal(c.t, want, c.strings(`SELECT event_id FROM processed WHERE event_id NOT LIKE 'first%' ORDER BY event_id`))
}

func many(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%04d", i))
	}
	return ids
}

func TestGroupsShareTransactions(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	c := newCrowd(t, db, 1, apply)
	outcomes := c.deliver(many(200)...)
	c.check(outcomes, func(string) bool { return false })
	transactions := len(c.strings(`SELECT DISTINCT xmin::text FROM processed`))
	require.Less(t, transactions, 20, "200 events")
}

// Whatever goes wrong with some of a group stays with them.
func TestFailuresInAGroup(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	failures := map[string]func(ctx context.Context, tx database.Tx, id string) error{
		"at once":       func(context.Context, database.Tx, string) error { return no },
		"after a write": func(ctx context.Context, tx database.Tx, id string) error { return errors.Join(apply(ctx, tx, id), no) },
		"after a queued write": func(ctx context.Context, tx database.Tx, id string) error {
			return errors.Join(apply(ctx, database.Queued(tx), id), no)
		},
		"in a statement": func(ctx context.Context, tx database.Tx, _ string) error { return apply(ctx, tx, "refused") },
		"in a queued statement": func(ctx context.Context, tx database.Tx, _ string) error {
			return apply(ctx, database.Queued(tx), "refused")
		},
		"by a panic after a write": func(ctx context.Context, tx database.Tx, id string) error { _ = apply(ctx, tx, id); panic("oh") },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			databasetest.Each(t, func(t *testing.T, db *database.DB) {
				bad := func(id string) bool { return strings.HasSuffix(id, "7") }
				var applies atomic.Int32
				c := newCrowd(t, db, 2, func(ctx context.Context, tx database.Tx, id string) error {
					if bad(id) {
						return fail(ctx, tx, id)
					}
					if applies.Add(1)%2 == 0 {
						tx = database.Queued(tx)
					}
					return apply(ctx, tx, id)
				})
				for _, part := range [][]string{many(100), many(300)[100:]} { // the second with what was learned from the first
					outcomes := c.deliver(part...)
					for id, err := range outcomes {
						require.Equal(t, bad(id), err != nil, "%s: %v", id, err)
						require.NotErrorIs(t, err, inbox.ErrUnavailable)
					}
				}
				require.Len(t, c.strings(`SELECT event_id FROM applied`), 270)
				require.Len(t, c.strings(`SELECT event_id FROM processed WHERE event_id NOT LIKE 'first%'`), 270)
				require.Empty(t, c.strings(`SELECT event_id FROM processed WHERE event_id LIKE '%7'`))
			})
		})
	}
}

// A constraint that is checked at the commit names no member.
func TestFailureAtTheCommit(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	_, err := db.ExecContext(t.Context(), `CREATE TABLE parents (id text PRIMARY KEY);
		CREATE TABLE children (parent text REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`)
	require.NoError(t, err)
	bad := func(id string) bool { return id == "0013" || id == "0014" || id == "0050" }
	c := newCrowd(t, db, 1, func(ctx context.Context, tx database.Tx, id string) error {
		if bad(id) {
			if _, err := tx.ExecContext(ctx, `INSERT INTO children VALUES ($1)`, id); err != nil {
				return err
			}
		}
		return apply(ctx, tx, id)
	})
	c.check(c.deliver(many(100)...), bad)
}

func TestSameEventTwiceInAGroup(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		var calls atomic.Int32
		no := errors.New("no")
		c := newCrowd(t, db, 2, func(ctx context.Context, tx database.Tx, id string) error {
			calls.Add(1)
			if id == "bad" {
				return no
			}
			return apply(ctx, tx, id)
		})
		ids := []string{"bad", "bad", "good", "good", "good"}
		var wg sync.WaitGroup
		h := c.wrap(func(m *message.Message) ([]*message.Message, error) {
			tx, _ := inbox.Tx(m.Context())
			return nil, c.handle(m.Context(), tx, m.UUID)
		})
		for range 20 {
			for _, id := range ids {
				wg.Go(func() {
					_, err := h(delivery(t.Context(), id))
					if id == "bad" {
						require.ErrorIs(t, err, no, "not taken for done because a twin was there")
					} else {
						require.NoError(t, err)
					}
				})
			}
		}
		wg.Wait()
		require.Equal(t, []string{"good"}, c.strings(`SELECT event_id FROM applied`))
	})
}

// Two groups that lock the same rows in another order.
func TestDeadlocksBetweenGroups(t *testing.T) {
	t.Parallel()
	url := databasetest.PostgresURL(t)
	db := databasetest.Open(t, url)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE counters (id integer PRIMARY KEY, n integer NOT NULL); INSERT INTO counters SELECT generate_series(0, 4), 0`)
	require.NoError(t, err)
	var n atomic.Int32
	c := newCrowd(t, db, 4, func(ctx context.Context, tx database.Tx, id string) error {
		if _, err := tx.ExecContext(ctx, `UPDATE counters SET n = n + 1 WHERE id = $1`, n.Add(1)%5); err != nil {
			return err
		}
		return apply(ctx, tx, id)
	})
	c.check(c.deliver(many(300)...), func(string) bool { return false })
	require.Equal(t, []string{"300"}, c.strings(`SELECT SUM(n) FROM counters`))
}

// Groups of two processes that lock the same rows: each handler in order, but not
// the handlers of a group together. The database takes a second to see a deadlock,
// so there must be few.
func TestDeadlocksBetweenProcesses(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	_, err := db.ExecContext(t.Context(), `CREATE TABLE counters (id integer PRIMARY KEY, n integer NOT NULL); INSERT INTO counters SELECT generate_series(0, 4), 0`)
	require.NoError(t, err)
	var conflicts atomic.Int64
	var n atomic.Int32
	c := newCrowd(t, db, 4, func(ctx context.Context, tx database.Tx, id string) error {
		first := n.Add(1) % 4
		for _, row := range []int32{first, first + 1} {
			if _, err := tx.ExecContext(ctx, `UPDATE counters SET n = n + 1 WHERE id = $1`, row); err != nil {
				if database.IsConflict(err) {
					conflicts.Add(1)
				}
				return err
			}
		}
		return apply(ctx, tx, id)
	})
	other := *c
	other.wrap = inbox.New(db, slog.New(slog.DiscardHandler)).Transaction("c", 4, false)
	other.deliveries = 1000 // other names for its first ones
	ids := many(2000)
	var outcomes map[string]error
	var both sync.WaitGroup
	both.Go(func() { outcomes = c.deliver(ids[:1000]...) })
	both.Go(func() { other.deliver(ids[1000:]...) })
	both.Wait()
	require.Equal(t, []string{"4000"}, c.strings(`SELECT SUM(n) FROM counters`))
	for _, id := range ids {
		outcomes[id] = nil
	}
	c.check(outcomes, func(string) bool { return false })
	require.Less(t, conflicts.Load(), int64(50))
}

// A connection of the pool that has died is no reason to take the events one by one.
func TestDeadConnectionInAGroup(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	var calls atomic.Int32
	c := newCrowd(t, db, 1, func(ctx context.Context, tx database.Tx, id string) error {
		if err := apply(ctx, tx, id); err != nil {
			return err
		}
		if calls.Add(1) == 20 { // in a group of several
			return driver.ErrBadConn
		}
		return nil
	})
	c.check(c.deliver(many(60)...), func(string) bool { return false })
	require.Less(t, len(c.strings(`SELECT DISTINCT xmin::text FROM processed`)), 15, "transactions for 60 events")
}

// Who shares a group with an event whose row somebody has locked for long doesn't
// wait for it.
func TestLockedRowInAGroup(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	_, err := db.ExecContext(t.Context(), `CREATE TABLE counters (id text PRIMARY KEY); INSERT INTO counters VALUES ('0003')`)
	require.NoError(t, err)
	c := newCrowd(t, db, 2, func(ctx context.Context, tx database.Tx, id string) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM counters WHERE id = $1`, id); err != nil {
			return err
		}
		return apply(ctx, tx, id)
	})
	c.hold = 5 * time.Millisecond // slow handlers would be given small groups
	locked, unlock := make(chan struct{}), make(chan struct{})
	var lock sync.WaitGroup
	lock.Go(func() {
		err := db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			_, err := tx.ExecContext(ctx, `SELECT 1 FROM counters FOR UPDATE`)
			close(locked)
			<-unlock
			return err
		})
		require.NoError(t, err)
	})
	<-locked
	var outcomes map[string]error
	ids := many(8)
	lock.Go(func() { outcomes = c.deliver(ids...) })
	for deadline := time.Now().Add(30 * time.Second); len(c.strings(`SELECT event_id FROM applied`)) < len(ids)-1; {
		require.True(t, time.Now().Before(deadline), "the others wait")
		time.Sleep(5 * time.Millisecond)
	}
	close(unlock)
	lock.Wait()
	c.check(outcomes, func(string) bool { return false })
}

func TestStatementTimeoutInAGroup(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t)+"&statement_timeout=300")
	bad := func(id string) bool { return id == "0003" }
	c := newCrowd(t, db, 1, func(ctx context.Context, tx database.Tx, id string) error {
		if bad(id) {
			_, err := tx.ExecContext(ctx, `SELECT pg_sleep(60)`)
			return err
		}
		return apply(ctx, tx, id)
	})
	outcomes := c.deliver(many(20)...)
	c.check(outcomes, bad)
	require.NotErrorIs(t, outcomes["0003"], inbox.ErrUnavailable, "it is the event's own doing")
}

type slow struct{}

func (slow) Error() string { return "slow" }
func (slow) Timeout() bool { return true }

// The neighbours of a handler that takes too long wait for it once.
func TestTimeoutInAGroup(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		var calls atomic.Int32
		bad := func(id string) bool { return id == "0003" }
		c := newCrowd(t, db, 1, func(ctx context.Context, tx database.Tx, id string) error {
			if !bad(id) {
				return apply(ctx, tx, id)
			}
			calls.Add(1)
			return errors.Join(apply(ctx, tx, id), slow{})
		})
		c.check(c.deliver(many(20)...), bad)
		require.EqualValues(t, 1, calls.Load())
	})
}

func TestConnectionLostInAGroup(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"INSERT INTO applied", "commit"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			proxy := databasetest.NewProxy(t, databasetest.PostgresURL(t))
			db := databasetest.Open(t, proxy.URL)
			c := newCrowd(t, db, 1, apply)
			var once sync.Once
			c.handle = func(ctx context.Context, tx database.Tx, id string) error {
				// The statement arrives, its answer is lost: for the commit that means
				// that the work is done and nobody knows.
				once.Do(func() { proxy.LoseReply(map[bool]string{true: "COMMIT", false: "0005"}[moment == "commit"]) })
				return apply(ctx, tx, id)
			}
			c.deliver("warm", "up") // COMMIT is prepared from here on: not its text is sent
			_, err := db.ExecContext(t.Context(), `DELETE FROM applied; DELETE FROM processed`)
			require.NoError(t, err)
			c.check(c.deliver(many(20)...), func(string) bool { return false })
		})
	}
}

func TestAloneHasATransactionOfItsOwn(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, databasetest.PostgresURL(t))
	h := inbox.New(db, slog.New(slog.DiscardHandler)).Transaction("c", 1, false)(func(*message.Message) ([]*message.Message, error) { return nil, nil })
	var deliveries sync.WaitGroup
	for _, id := range many(30) {
		deliveries.Go(func() {
			_, err := h(delivery(inbox.Alone(t.Context()), id))
			require.NoError(t, err)
		})
	}
	deliveries.Wait()
	var transactions int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(DISTINCT xmin::text) FROM processed`).Scan(&transactions))
	require.Equal(t, 30, transactions)
}
