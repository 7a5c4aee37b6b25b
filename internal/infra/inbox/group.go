package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

// member is a message that waits for a transaction, or is being handled in one.
type member struct {
	message *message.Message
	event   envelope.Header
	next    message.HandlerFunc
	alone   bool

	err  error         // what became of it, once done is closed
	done chan struct{} //
}

// handle runs the rest of the chain in tx.
func (m *member) handle(tx database.Tx) (err error) {
	outer := m.message.Context()
	if outer.Err() != nil {
		return context.Cause(outer)
	}
	m.message.SetContext(context.WithValue(outer, txKey{}, tx))
	defer m.message.SetContext(outer) // a retry must not see a finished transaction
	defer func() {
		if p := recover(); p != nil {
			err = middleware.RecoveredPanicError{V: p, Stacktrace: string(debug.Stack())}
		}
	}()
	_, err = m.next(m.message)
	return err
}

type identity struct{ id, source string }

func (m *member) identity() identity { return identity{m.event.ID, m.event.Source} }

// groups commits a consumer's messages, many in one transaction. A group is what
// has gathered while the groups before it were at work: an idle consumer waits
// for nobody, a busy one shares the cost of a commit.
type groups struct {
	db       *database.DB
	logger   *slog.Logger
	consumer string
	pace     *pace

	mu      sync.Mutex
	waiting []*member
	leaders int // goroutines that run a group each
}

// submit has the message handled in some group and waits for the outcome.
func (g *groups) submit(m *member) error {
	ctx := m.message.Context()
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	if g.leaders == 0 || len(g.waiting) >= enough {
		g.oneMore()
	}
	g.mu.Unlock()
	select {
	case <-m.done:
	case <-ctx.Done():
		if g.withdraw(m) {
			return context.Cause(ctx)
		}
		<-m.done // its context ends its turn
	}
	return m.err
}

// withdraw takes a message back that no group has taken yet.
func (g *groups) withdraw(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, m)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return i >= 0
}

const (
	// enough is how many must wait for one more group at a time: fewer are better
	// off in the next one, which comes soon.
	enough = 32
	// overdue is when it doesn't come soon.
	overdue = 10 * time.Millisecond
)

// oneMore has one more group at a time. The caller holds mu.
func (g *groups) oneMore() {
	if len(g.waiting) > 0 && g.leaders < g.pace.groups() {
		g.leaders++
		go g.lead()
	}
}

// lead runs one group after another until nothing waits.
func (g *groups) lead() {
	for {
		// Messages on their way here, in goroutines that are ready to run, come along:
		// that is not a pause, it only lets them go first.
		runtime.Gosched()
		group := g.take()
		if group == nil {
			return
		}
		slow := time.AfterFunc(overdue, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.oneMore()
		})
		g.run(group)
		slow.Stop()
	}
}

// take removes the next group from those that wait.
func (g *groups) take() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 || g.leaders > g.pace.groups() {
		g.leaders--
		return nil
	}
	n := min(len(g.waiting), g.pace.size())
	for i, m := range g.waiting[:n] {
		if m.alone {
			n = max(i, 1)
			break
		}
	}
	group := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	return group
}

// run handles the group and tells each member what became of it.
//
// The first attempt takes no precautions. If it fails, the second one gives each
// member a savepoint, so that only those that fail themselves are left out. If
// even that fails, as when a constraint is checked at the commit, the culprit is
// looked for in halves. After a conflict with another transaction everybody is alone
// at once: savepoints would keep the locks, and half a group may run into the next.
func (g *groups) run(group []*member) {
	start := time.Now()
	var culprit *member
	err := errUntried
	if len(group) == 1 || !g.pace.careful() {
		culprit, err = g.attempt(group, false)
	}
	if err != nil && len(group) > 1 && !errors.Is(err, errConflict) && !g.away(err) {
		if culprit != nil && timedOut(err) {
			// The others have waited for it once. It isn't the transaction's fault.
			g.finish([]*member{culprit}, err)
			g.run(without(group, culprit))
			return
		}
		g.pace.troubled()
		culprit, err = g.attempt(group, true)
	}
	switch {
	case err == nil:
		g.pace.succeeded(len(group), time.Since(start))
		g.finish(group, nil)
	case len(group) == 1 || g.away(err):
		g.finish(group, unavailable(err))
	case errors.Is(err, errConflict):
		if culprit != nil { // it may have to wait for long: it comes last
			group = append(without(group, culprit), culprit)
		}
		for one := range slices.Chunk(group, 1) {
			g.run(one)
		}
	default:
		half := len(group) / 2
		g.run(group[:half])
		g.run(group[half:])
	}
}

func without(group []*member, culprit *member) []*member {
	return slices.DeleteFunc(group, func(m *member) bool { return m == culprit })
}

// finish tells the members, unless they have an error of their own.
func (g *groups) finish(group []*member, err error) {
	for _, m := range group {
		if err != nil {
			m.err = err
		}
		close(m.done)
	}
}

// away tells a database out of reach from one connection that broke.
func (g *groups) away(err error) bool {
	if !database.IsUnavailable(err) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingLimit)
	defer cancel()
	return g.db.Ping(ctx) != nil
}

const pingLimit = 2 * time.Second

// lockWait bounds how long a group of several waits for a row that another
// transaction has locked. It is less than the second that PostgreSQL takes to see a
// deadlock: of a group and a message that is alone, the group gives way.
const lockWait = `SET LOCAL lock_timeout = '500ms'`

// errConflict ends a group that another transaction stood in the way of.
var errConflict = errors.New("inbox: conflict with another transaction")

// attempt handles the group in one transaction. Without an error it is committed
// and each member has its outcome: with savepoints, one that failed has its
// error. With an error everything is rolled back; culprit is the member whose
// handler returned it, if any.
func (g *groups) attempt(group []*member, savepoints bool) (culprit *member, err error) {
	runs := 0
	var last error // of the run before, nil if that was its commit
	err = g.db.InTx(group[0].message.Context(), func(ctx context.Context, tx database.Tx) error {
		// It is run again after a conflict, and on another connection if one had died.
		if runs++; runs > 1 && (last == nil || database.IsConflict(last)) {
			g.pace.conflicted()
			if len(group) > 1 {
				return errConflict
			}
		}
		culprit, last = g.handle(ctx, tx, group, savepoints)
		return last
	})
	return culprit, err
}

// handle is attempt within its transaction.
func (g *groups) handle(ctx context.Context, tx database.Tx, group []*member, savepoints bool) (culprit *member, err error) {
	if len(group) > 1 && g.db.Dialect() == database.Postgres {
		if _, err := database.Queued(tx).ExecContext(ctx, lockWait); err != nil {
			return nil, err
		}
	}
	fresh, err := g.record(ctx, tx, group)
	if err != nil {
		return nil, err
	}
	var failed []*member
	for _, m := range group {
		m.err = nil
		first := fresh[m.identity()]
		switch {
		case first == nil:
			g.logger.DebugContext(ctx, "dropped a duplicate", "consumer", g.consumer, "event_id", m.event.ID, "event_type", m.event.Type)
			continue
		case first != m: // the same event twice in one group: the same outcome
			m.err = first.err
			continue
		}
		undone := savepoints
		if savepoints {
			m.err = database.Savepoint(ctx, tx, m.handle)
		} else {
			undone, m.err = database.Lend(tx, m.handle)
		}
		if m.err == nil {
			continue
		}
		if !undone || len(group) == 1 || database.IsConflict(m.err) {
			return m, m.err
		}
		failed = append(failed, m)
	}
	return nil, g.unrecord(ctx, tx, failed)
}

// record writes the processed rows of the group, and returns the members whose
// events were new. Other deliveries of the same events wait here until this
// transaction ends.
func (g *groups) record(ctx context.Context, tx database.Tx, group []*member) (map[identity]*member, error) {
	members := make(map[identity]*member, len(group))
	fresh := make(map[identity]*member, len(group))
	for _, m := range group {
		if members[m.identity()] == nil {
			members[m.identity()] = m
		}
	}
	ids, args := g.rows(3, group)
	err := database.Read(ctx, tx, func(scan func(...any) error) error {
		var i identity
		if err := scan(&i.id, &i.source); err != nil {
			return err
		}
		fresh[i] = members[i]
		return nil
	}, `INSERT INTO processed (consumer, event_id, source, processed_at) SELECT $1, event_id, source, $2 FROM (`+ids+`) AS ids WHERE true
		ON CONFLICT DO NOTHING RETURNING event_id, source`, append([]any{g.consumer, time.Now()}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("inbox: record events: %w", err)
	}
	return fresh, nil
}

// unrecord takes the processed rows of those back that were left out.
func (g *groups) unrecord(ctx context.Context, tx database.Tx, failed []*member) error {
	if len(failed) == 0 {
		return nil
	}
	// Nothing of a handler's comes after this.
	if err := database.FollowIndexes(ctx, tx); err != nil {
		return fmt.Errorf("inbox: take records back: %w", err)
	}
	ids, args := g.rows(2, failed)
	_, err := database.Queued(tx).ExecContext(ctx,
		`DELETE FROM processed WHERE consumer = $1 AND (event_id, source) IN (`+ids+`)`, append([]any{g.consumer}, args...)...)
	if err != nil {
		return fmt.Errorf("inbox: take records back: %w", err)
	}
	return nil
}

// rows selects the members' events, with parameters from $first on. They are
// sorted, so that two groups with the same events can't deadlock.
func (g *groups) rows(first int, group []*member) (query string, args []any) {
	sorted := slices.SortedFunc(slices.Values(group), func(a, b *member) int { return strings.Compare(a.event.ID, b.event.ID) })
	ids, sources := make([]string, len(sorted)), make([]string, len(sorted))
	for i, m := range sorted {
		ids[i], sources[i] = m.event.ID, m.event.Source
	}
	return g.db.Rows(first, database.Strings("event_id", ids), database.Strings("source", sources))
}
