package deadletter

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"example.com/millwright/internal/infra/database"
)

// due is the condition for a dead letter to be delivered at the time $1.
const due = `state IN ('scheduled', 'replaying') AND (due_at IS NULL OR due_at <= $1) AND (claimed_until IS NULL OR claimed_until < $1)`

// lookout looks for what is due, for all subscriptions of a process together:
// mostly there is nothing. It runs while there are any.
type lookout struct {
	mu       sync.Mutex
	watchers map[chan struct{}]string // whom to wake, and their consumers
	poke     chan struct{}            // asks for a look right now
	end      func()                   // waits until no more looks are under way
}

// watch returns a channel that receives when something is due for the consumer;
// several times may arrive as one. stop ends it.
func (s *Store) watch(consumer string) (woken <-chan struct{}, stop func()) {
	l := &s.lookout
	c := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.watchers) == 0 {
		poke := make(chan struct{}, 1)
		l.watchers, l.poke = map[chan struct{}]string{}, poke
		ctx, cancel := context.WithCancel(context.Background())
		var looking sync.WaitGroup
		looking.Go(func() { s.look(ctx, poke) })
		l.end = func() { cancel(); looking.Wait() }
	}
	l.watchers[c] = consumer
	wake(l.poke)
	return c, func() {
		l.mu.Lock()
		delete(l.watchers, c)
		last, end := len(l.watchers) == 0, l.end
		l.mu.Unlock()
		if last {
			end()
		}
	}
}

// look wakes those for whom something is due, until ctx is done.
func (s *Store) look(ctx context.Context, poke <-chan struct{}) {
	woken, stop := s.db.Woken(signal)
	defer stop()
	poll := time.NewTimer(s.config.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-poke:
		case <-poll.C:
		}
		if err := s.lookOnce(ctx); err != nil && ctx.Err() == nil {
			s.logger.WarnContext(ctx, "looking for replays failed", "error", err, "retry_in", s.config.Poll)
		}
		poll.Reset(s.config.Poll)
	}
}

func (s *Store) lookOnce(ctx context.Context) error {
	s.lookout.mu.Lock()
	watchers := maps.Clone(s.lookout.watchers)
	s.lookout.mu.Unlock()
	consumers := slices.Compact(slices.Sorted(maps.Values(watchers)))
	if len(consumers) == 0 {
		return nil
	}
	// One probe of an index for each, where EXISTS is free to read everything.
	values, args := s.db.Rows(2, database.Strings("name", consumers))
	query := `SELECT c.name FROM (` + values + `) AS c WHERE (SELECT id FROM dead_letters WHERE consumer = c.name AND ` + due + ` LIMIT 1) IS NOT NULL`
	found := map[string]bool{}
	err := s.db.Poll(ctx, func(ctx context.Context) error {
		rows, err := s.db.QueryContext(ctx, query, append([]any{time.Now()}, args...)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var consumer string
			if err := rows.Scan(&consumer); err != nil {
				return err
			}
			found[consumer] = true
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("deadletter: look for what is due: %w", err)
	}
	for c, consumer := range watchers {
		if found[consumer] {
			wake(c)
		}
	}
	return nil
}

// wake wakes whoever receives from c, unless it is about to wake anyway.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
