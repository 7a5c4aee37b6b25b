package sqlqueue

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
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
	woken   chan struct{}
	acked   chan *entry
	nacked  chan *entry
	retries chan *entry

	mu      sync.Mutex
	next    int64               // the offset to read next
	open    map[int64]bool      // read, not acked
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

func (r *reader) setHead(next int64) {
	r.head.Store(next)
	select {
	case r.woken <- struct{}{}:
	default:
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
	var failed <-chan time.Time // after a failed read
	for {
		if failed == nil && r.running.Err() == nil && r.room() && r.head.Load() > r.nextOffset() {
			ready, err := r.read(r.running)
			if err != nil && r.running.Err() == nil {
				r.sub.logger.WarnContext(r.running, "reading messages failed", "partition", r.partition, "error", err, "retry_in", r.sub.broker.config.Poll)
				failed = time.After(r.sub.broker.config.Poll)
			}
			for _, e := range ready {
				if r.deliver(e) {
					inFlight++
				}
			}
			continue
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
		case <-failed:
			failed = nil
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

func (r *reader) nextOffset() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// room says whether enough has been answered to read on.
func (r *reader) room() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open) <= r.sub.broker.config.Window/2
}

// read takes the next messages into the window, in the order of the log, and
// returns those that no earlier message of their key holds back.
func (r *reader) read(ctx context.Context) ([]*entry, error) {
	head := r.head.Load()
	r.mu.Lock()
	from, most := r.next, r.sub.broker.config.Window-len(r.open)
	r.mu.Unlock()
	select {
	case r.sub.broker.reads <- struct{}{}:
		defer func() { <-r.sub.broker.reads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	rows, err := r.sub.broker.db.QueryContext(ctx, `
		SELECT "offset", message_id, partition_key, metadata, payload FROM queue_log
		WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4 ORDER BY "offset"`,
		r.sub.topic, r.partition, from, from+int64(most))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var entries []*entry
	for rows.Next() {
		e := &entry{}
		if err := rows.Scan(&e.offset, &e.id, &e.key, &e.metadata, &e.payload); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var ready []*entry
	for _, e := range entries {
		r.open[e.offset] = true
		r.next = e.offset + 1
		if len(r.waiting[e.key]) == 0 {
			ready = append(ready, e)
		}
		r.waiting[e.key] = append(r.waiting[e.key], e)
	}
	if len(entries) == 0 {
		r.next = max(r.next, head) // retention took what was there
	}
	return ready, nil
}

// finish forgets an acked message and returns the next one of its key.
func (r *reader) finish(e *entry) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, e.offset)
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
	if err := json.Unmarshal([]byte(e.metadata), &m.Metadata); err != nil {
		// Written by publish, so it can't happen; the handler sees a message
		// without headers, and nothing is stuck.
		r.sub.logger.ErrorContext(ctx, "metadata is unreadable", "partition", r.partition, "offset", e.offset, "error", err)
		m.Metadata = message.Metadata{}
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
