package sqlqueue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"example.com/millwright/internal/infra/database"
)

// member is this process among those that share the groups' partitions: it says
// for all of its subscriptions together that they are alive, and learns what each
// of them has to know.
type member struct {
	id   string
	turn chan struct{} // full while somebody changes the member's rows or acts on what they say
	poke chan struct{} // asks for a heartbeat right now

	mu   sync.Mutex
	subs []*subscription
}

func newMember() *member {
	return &member{id: uuid.NewString(), turn: make(chan struct{}, 1), poke: make(chan struct{}, 1)}
}

// enter waits for this goroutine's turn, which lasts until leave is called.
func (m *member) enter(ctx context.Context) (leave func(), err error) {
	select {
	case m.turn <- struct{}{}:
		return func() { <-m.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (m *member) add(s *subscription) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subs = append(m.subs, s)
}

// remove returns how many subscriptions are left.
func (m *member) remove(s *subscription) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subs = slices.DeleteFunc(m.subs, func(x *subscription) bool { return x == s })
	return len(m.subs)
}

func (m *member) subscriptions() []*subscription {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.subs)
}

// join tells the others that s shares its group's partitions from now on.
func (b *Broker) join(ctx context.Context, s *subscription) error {
	leave, err := b.member.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if b.closed.Load() {
		return errClosed
	}
	if err := b.announce(ctx, s); err != nil {
		return err
	}
	b.member.add(s)
	b.startWork()
	poke(b.member.poke)
	return nil
}

// announce writes the rows of the member and of subscriptions. Each statement is
// a transaction of its own, so that a process that is stopped in between holds no
// lock which keeps the others from removing it.
func (b *Broker) announce(ctx context.Context, subs ...*subscription) error {
	now, lease := b.clock()
	_, err := b.db.ExecContext(ctx, `
		INSERT INTO queue_members (member, seen_until) VALUES ($2, `+now+` + `+lease+`)
		ON CONFLICT (member) DO UPDATE SET seen_until = excluded.seen_until`, b.config.Lease.Microseconds(), b.member.id)
	if err != nil {
		return fmt.Errorf("tell the others: %w", err)
	}
	for _, s := range subs {
		err := b.change(ctx, `
			INSERT INTO queue_subscriptions (subscription, consumer_group, topic, member) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			s.id, s.group, s.topic, b.member.id)
		if err != nil {
			return fmt.Errorf("tell the group: %w", err)
		}
	}
	return nil
}

// leave gives everything that s holds back at once.
func (b *Broker) leave(ctx context.Context, s *subscription) error {
	leave, err := b.member.enter(ctx)
	if err != nil {
		b.member.remove(s) // the next heartbeat removes its row, or ours is the last and runs out
		return err
	}
	defer leave()
	if b.member.remove(s) == 0 {
		err = b.change(ctx, `DELETE FROM queue_members WHERE member = $1`, b.member.id)
	} else {
		err = b.abandon(ctx, s.id)
	}
	return err
}

func (b *Broker) abandon(ctx context.Context, subscription string) error {
	return b.change(ctx, `DELETE FROM queue_subscriptions WHERE subscription = $1`, subscription)
}

// membership wakes all members for a heartbeat.
const membership = "queue members"

// change executes a statement after which partitions may be free, or too many in
// one hand, and has all members look at once: nobody waits for the next heartbeat.
// It is one round trip, so that a process that is stopped in the middle holds no
// lock.
func (b *Broker) change(ctx context.Context, query string, args ...any) error {
	return b.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		if _, err := database.Queued(tx).ExecContext(ctx, query, args...); err != nil {
			return err
		}
		return b.db.WakeEveryone(ctx, tx, membership)
	})
}

// takeOver removes all members on SQLite, where there is one process: whoever was
// there when this process opened the database is gone.
func (b *Broker) takeOver(ctx context.Context) error {
	if b.db.Dialect() != database.SQLite {
		return nil
	}
	return b.db.Once("sqlqueue: take over", func() error {
		_, err := b.db.ExecContext(context.WithoutCancel(ctx), `DELETE FROM queue_members`)
		return err
	})
}

// keepLeases sends heartbeats until ctx is done. Each of them brings the heads of
// the log as well, so it is also the poll for new messages.
func (b *Broker) keepLeases(ctx context.Context) {
	woken, stop := b.db.Woken(membership)
	defer stop()
	pause := min(b.config.Lease/3, b.config.Poll)
	beat := time.NewTimer(pause)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.member.poke:
		case <-woken:
		case <-beat.C:
		}
		if err := b.beat(ctx); err != nil && ctx.Err() == nil {
			b.logger.WarnContext(ctx, "renewing leases failed", "error", err, "retry_in", pause)
		}
		beat.Reset(pause)
	}
}

// beat renews the leases of all subscriptions and lets each of them act on what
// it learns. In the steady state it is one statement, on SQLite two.
func (b *Broker) beat(ctx context.Context) error {
	// One that hangs is worth no more than one that fails.
	ctx, cancel := context.WithTimeoutCause(ctx, b.config.Lease, errors.New("the database doesn't answer"))
	defer cancel()
	leave, err := b.member.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	subs := b.member.subscriptions()
	if len(subs) == 0 {
		return nil
	}
	p, err := b.heartbeat(ctx)
	if err != nil {
		return err
	}
	changed, err := b.tidy(ctx, p, subs)
	if err == nil && changed {
		p, err = b.heartbeat(ctx)
	}
	if err != nil {
		return err
	}
	var problems []error
	for _, s := range subs {
		if err := s.balance(ctx, p.views[s.id]); err != nil {
			problems = append(problems, fmt.Errorf("%s on %s: %w", s.group, s.topic, err))
		}
	}
	return errors.Join(problems...)
}

// pulse is what a heartbeat brings.
type pulse struct {
	views   map[string]*view // by subscription
	expired bool             // there are members whose time is over
}

// view is what a subscription has to know.
type view struct {
	members int // of its group on its topic
	free    int // partitions that nobody holds
	held    []lease
}

// heartbeat renews the member and reads what concerns its subscriptions. A member
// that has been removed has none.
func (b *Broker) heartbeat(ctx context.Context) (pulse, error) {
	var p pulse
	row := func(scan func(...any) error) error {
		var subscription string
		var members int
		var partition, epoch, head sql.NullInt64
		var held sql.NullBool
		if err := scan(&subscription, &members, &p.expired, &partition, &epoch, &held, &head); err != nil {
			return err
		}
		v := p.views[subscription]
		if v == nil {
			v = &view{members: members}
			p.views[subscription] = v
		}
		switch {
		case held.Bool:
			v.held = append(v.held, lease{partition: int(partition.Int64), epoch: epoch.Int64, head: head.Int64})
		case partition.Valid:
			v.free++
		}
		return nil
	}
	now, lease := b.clock()
	renew := `UPDATE queue_members SET seen_until = ` + now + ` + ` + lease + ` WHERE member = $2`
	look := `
		SELECT s.subscription,
			(SELECT COUNT(*) FROM queue_subscriptions o WHERE o.consumer_group = s.consumer_group AND o.topic = s.topic),
			EXISTS (SELECT 1 FROM queue_members WHERE seen_until < ` + now + `),
			c.partition, c.epoch, c.owner = s.subscription, p.next_offset
		FROM alive JOIN queue_subscriptions s ON s.member = alive.member
		LEFT JOIN queue_cursors c ON c.consumer_group = s.consumer_group AND c.topic = s.topic AND (c.owner = s.subscription OR ` + free + `)
		LEFT JOIN queue_partitions p ON p.topic = c.topic AND p.partition = c.partition`
	err := b.db.Poll(ctx, func(ctx context.Context) error {
		p = pulse{views: map[string]*view{}}
		if b.db.Dialect() == database.Postgres {
			return b.query(ctx, row, `WITH alive AS (`+renew+` RETURNING member)`+look, b.config.Lease.Microseconds(), b.member.id)
		}
		if _, err := b.db.ExecContext(ctx, renew, b.config.Lease.Microseconds(), b.member.id); err != nil {
			return err
		}
		return b.query(ctx, row, `WITH alive AS (SELECT $1 AS member)`+look, b.member.id)
	})
	return p, err
}

// free is the condition that nobody holds the cursor c.
const free = `NOT EXISTS (SELECT 1 FROM queue_subscriptions o WHERE o.subscription = c.owner)`

// tidy puts right what a heartbeat has shown: members whose time is over are
// removed, which frees what they held. Our own subscriptions that were removed
// like that are announced again, and go on with what nobody has taken meanwhile.
// What is left of a subscription that could not be removed when it ended goes too.
func (b *Broker) tidy(ctx context.Context, p pulse, subs []*subscription) (changed bool, err error) {
	if p.expired {
		now, _ := b.clock()
		if _, err := b.db.ExecContext(ctx, `DELETE FROM queue_members WHERE seen_until < `+now); err != nil {
			return false, fmt.Errorf("remove members: %w", err)
		}
		changed = true
	}
	left := maps.Clone(p.views)
	var removed []*subscription
	for _, s := range subs {
		if left[s.id] == nil {
			removed = append(removed, s)
		}
		delete(left, s.id)
	}
	if len(removed) > 0 {
		b.logger.WarnContext(ctx, "taken for dead by another member, joining again", "subscriptions", len(removed))
		if err := b.announce(ctx, removed...); err != nil {
			return false, err
		}
		changed = true
	}
	for subscription := range left {
		if err := b.abandon(ctx, subscription); err != nil {
			return false, fmt.Errorf("remove a subscription that has ended: %w", err)
		}
		changed = true
	}
	return changed, nil
}
