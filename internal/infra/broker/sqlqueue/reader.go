package sqlqueue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
)

// entry is a message between the log and its ack.
type entry struct {
	offset   int64
	key      string
	id       string
	metadata string
	payload  []byte
	nacks    int
}

// reader delivers the messages of one leased partition: several keys side by
// side, each key in order.
type reader struct {
	sub       *subscription
	partition int
	epoch     int64

	running  context.Context // done when no more messages shall be delivered
	stop     context.CancelFunc
	alive    context.Context // of the messages: done when the lease is lost
	kill     context.CancelFunc
	finished chan struct{}

	handingOver bool // guarded by sub.mu

	head    atomic.Int64
	asking  atomic.Bool   // for the subscription to fetch more
	fetched chan []*entry // what it has fetched
	woken   chan struct{}
	acked   chan *entry
	nacked  chan *entry
	retries chan *entry

	headers broker.HeaderReader

	mu      sync.Mutex
	next    int64               // the offset to read next
	open    map[int64]bool      // read, not acked
	bytes   int                 // of their payloads
	size    int                 // of a payload, on average
	saved   int64               // the cursor in the database
	waiting map[string][]*entry // by key; the first one is in flight
}

func (s *subscription) startReader(l lease) *reader {
	window := s.broker.config.Window
	r := &reader{
		sub: s, partition: l.partition, epoch: l.epoch,
		next: l.nextOffset, saved: l.nextOffset,
		open: map[int64]bool{}, waiting: map[string][]*entry{},
		finished: make(chan struct{}),
		fetched:  make(chan []*entry, 1),
		woken:    make(chan struct{}, 1),
		acked:    make(chan *entry, window),
		nacked:   make(chan *entry, window),
		retries:  make(chan *entry, window),
	}
	r.alive, r.kill = context.WithCancel(s.alive)
	r.running, r.stop = context.WithCancel(r.alive)
	s.wg.Go(func() {
		defer context.AfterFunc(s.running, r.stop)()
		r.run()
	})
	return r
}

// setHead tells how far the log reaches. Of two who tell it at the same time, one
// may have looked earlier.
func (r *reader) setHead(next int64) {
	for known := r.head.Load(); next > known; known = r.head.Load() {
		if r.head.CompareAndSwap(known, next) {
			poke(r.woken)
			return
		}
	}
}

// done returns the offset before which everything is acked, and whether the
// cursor in the database is behind it.
func (r *reader) done() (offset int64, dirty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done := r.next
	for offset := range r.open {
		done = min(done, offset)
	}
	return done, done > r.saved
}

func (r *reader) flushed(offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved = max(r.saved, offset)
}

// run reads and delivers until it is stopped, then waits for what is in flight.
func (r *reader) run() {
	defer close(r.finished)
	defer r.kill()
	inFlight := 0
	asked := false
	for {
		if !asked && r.running.Err() == nil && r.hungry() {
			asked = true
			r.asking.Store(true)
			r.sub.wantMore()
		}
		if r.running.Err() != nil && inFlight == 0 {
			return
		}
		stopped := r.running.Done()
		if r.running.Err() != nil {
			stopped = nil // only answers matter now
		}
		select {
		case <-r.alive.Done():
			return
		case <-stopped:
		case <-r.woken:
		case ready := <-r.fetched:
			asked = false
			for _, e := range ready {
				if r.deliver(e) {
					inFlight++
				}
			}
		case e := <-r.acked:
			inFlight--
			if next := r.finish(e); next != nil && r.deliver(next) {
				inFlight++
			}
		case e := <-r.nacked:
			inFlight--
			r.retryLater(e)
		case e := <-r.retries:
			if r.running.Err() == nil && r.deliver(e) {
				inFlight++
			}
		}
	}
}

// hungry says whether there is more, and enough has been answered to read on.
func (r *reader) hungry() bool {
	config := r.sub.broker.config
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head.Load() > r.next && len(r.open) <= config.Window/2 && r.bytes <= config.WindowBytes/2
}

// span is what to read next: offsets from low up to, not including, high. Its
// length is bounded by the messages in the window and by what their payloads are
// likely to take.
func (r *reader) span() span {
	config := r.sub.broker.config
	r.mu.Lock()
	defer r.mu.Unlock()
	most := min(config.Window-len(r.open), (config.WindowBytes-r.bytes)/max(r.size, 1))
	return span{reader: r, low: r.next, high: min(r.next+int64(max(most, 1)), r.head.Load())}
}

// accept takes the span's messages into the window and returns those that no
// earlier message of their key holds back. Offsets have no gaps: what is missing
// was taken by retention.
func (r *reader) accept(entries []*entry, high int64) []*entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ready []*entry
	for _, e := range entries {
		r.open[e.offset] = true
		r.bytes += len(e.payload)
		r.size = (3*r.size + len(e.payload)) / 4
		if len(r.waiting[e.key]) == 0 {
			ready = append(ready, e)
		}
		r.waiting[e.key] = append(r.waiting[e.key], e)
	}
	r.next = max(r.next, high)
	poke(r.sub.acked) // of what was missing
	return ready
}

// finish forgets an acked message and returns the next one of its key.
func (r *reader) finish(e *entry) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, e.offset)
	poke(r.sub.acked)
	r.bytes -= len(e.payload)
	rest := r.waiting[e.key][1:]
	if len(rest) == 0 {
		delete(r.waiting, e.key)
		return nil
	}
	r.waiting[e.key] = rest
	return rest[0]
}

// deliver hands the message out and has its answer reported. It returns false
// if the reader was stopped first.
func (r *reader) deliver(e *entry) bool {
	m, cancel := r.message(e)
	select {
	case <-r.running.Done():
		cancel()
		return false
	case r.sub.out <- m:
	}
	go func() {
		defer cancel()
		select {
		case <-m.Acked():
			r.acked <- e
		case <-m.Nacked():
			r.nacked <- e
		case <-r.alive.Done():
		}
	}()
	return true
}

func (r *reader) message(e *entry) (*message.Message, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.alive)
	m := message.NewMessageWithContext(ctx, e.id, e.payload)
	if err := r.headers.Read(m, e.key, e.metadata); err != nil {
		// Written by publish, so it can't happen; the handler sees a message
		// without headers, and nothing is stuck.
		r.sub.logger.ErrorContext(ctx, "metadata is unreadable", "partition", r.partition, "offset", e.offset, "error", err)
	}
	return m, cancel
}

// retryLater delivers a nacked message again after a pause that grows.
func (r *reader) retryLater(e *entry) {
	pause := min(r.sub.broker.config.RetryPause<<min(e.nacks, 10), 5*time.Second)
	e.nacks++
	time.AfterFunc(pause, func() {
		select {
		case r.retries <- e:
		case <-r.alive.Done():
		}
	})
}
