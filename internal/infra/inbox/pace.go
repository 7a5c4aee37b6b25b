package inbox

import (
	"errors"
	"sync"
	"time"

	"example.com/millwright/internal/infra/database"
)

const (
	// maxGroup is the most messages that share a transaction. PostgreSQL keeps
	// as many savepoints of a transaction in memory.
	maxGroup = 64
	// firstGroup is where a consumer starts: groups grow with what is known of
	// its handlers.
	firstGroup = 8
	// groupTime is how long the handlers of one group may take together. It
	// bounds how long rows stay locked, and how long an event waits for others.
	groupTime = 100 * time.Millisecond
	// patience is how many groups must go well before the next step up after a
	// conflict; it grows fourfold with every conflict up to maxPatience, and is forgotten
	// when all steps have been taken.
	patience    = 256
	maxPatience = 1 << 15
	// shrink divides the size of groups at a conflict: the database takes a second to
	// see a deadlock, so two steps down must do.
	shrink = 8
)

// pace decides how many groups of a consumer run at a time and how large they
// are: as many as the pool has room for, fewer after deadlocks, and as large as
// the time of the handlers allows.
type pace struct {
	most func() int // groups at a time
	cap  int        // members of a group

	mu       sync.Mutex
	limit    int // groups at a time, after conflicts
	largest  int // members of a group, after conflicts
	next     int // members of the next group
	calm     int // groups since the last conflict or step
	patience int
	trouble  int // how likely the next group is to fail
}

func newPace(most func() int, size int) *pace {
	return &pace{most: most, cap: size, limit: 1 << 30, largest: size, next: min(size, firstGroup), patience: patience}
}

// groups is how many groups may run at a time.
func (p *pace) groups() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(p.limit, p.most())
}

// size is how many members the next group may have.
func (p *pace) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// careful reports whether the next group had better use savepoints at once.
func (p *pace) careful() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trouble >= troubleStep
}

// One failed group makes the next few careful, many keep it that way.
const troubleStep, maxTrouble = 4, 16

// troubled notes that a group had a member that failed.
func (p *pace) troubled() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = min(p.trouble+troubleStep, maxTrouble)
}

// succeeded notes how long a group of n took.
func (p *pace) succeeded(n int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = max(p.trouble-1, 0)
	fits := int(groupTime / max(took/time.Duration(n), 1))
	p.next = max(1, min(p.next*2, fits, p.largest))
	if p.calm++; p.calm < p.patience {
		return
	}
	p.calm = 0
	switch {
	case p.largest < p.cap:
		p.largest = min(p.largest*2, p.cap)
	case p.limit < p.most():
		p.limit++
	default:
		p.patience = patience
	}
}

// conflicted notes that a group was broken off because of another transaction:
// two that lock the same rows in another order. One at a time can't do that to each
// other; where the other is another process's, smaller ones do it less and those of
// one message not at all, unless their handlers do.
func (p *pace) conflicted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if min(p.limit, p.most()) > 1 {
		p.limit = 1
	} else {
		p.largest = max(1, p.largest/shrink)
		p.next = min(p.next, p.largest)
	}
	p.calm = 0
	p.patience = min(p.patience*4, maxPatience)
}

// errUntried stands for an attempt that was not made.
var errUntried = errors.New("inbox: not tried")

// timedOut reports whether a handler took too long, by the convention of
// context.DeadlineExceeded and net.Error.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout() && !database.IsUnavailable(err)
}
