package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// channel is the one PostgreSQL channel in use, so that a process needs a single
// LISTEN. A wake-up's payload is who sent it, a space, and its signal.
const channel = "millwright"

// wakeups is a hub of named signals. A signal carries nothing: whoever is woken
// looks at the tables. Losing one costs a poll interval, never an event.
type wakeups struct {
	mu        sync.Mutex
	listeners map[string]map[chan struct{}]bool
	closed    bool
}

func (w *wakeups) add(signal string) (<-chan struct{}, func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan struct{}, 1)
	if w.listeners == nil {
		w.listeners = map[string]map[chan struct{}]bool{}
	}
	if w.listeners[signal] == nil {
		w.listeners[signal] = map[chan struct{}]bool{}
	}
	w.listeners[signal][c] = true
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.listeners[signal], c)
	}
}

func (w *wakeups) wake(signal string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.listeners[signal] {
		select {
		case c <- struct{}{}:
		default: // already awake
		}
	}
}

func (w *wakeups) wakeAll() {
	w.mu.Lock()
	signals := make([]string, 0, len(w.listeners))
	for s := range w.listeners {
		signals = append(signals, s)
	}
	w.mu.Unlock()
	for _, s := range signals {
		w.wake(s)
	}
}

func (w *wakeups) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.listeners = nil
}

// Woken returns a channel that receives after someone called [DB.Wake] or
// [DB.WakeEveryone] with the same signal; several calls may arrive as one.
// stop ends it.
func (db *DB) Woken(signal string) (woken <-chan struct{}, stop func()) {
	return db.wakeups.add(signal)
}

// Wake wakes this process's listeners of the signal once tx has committed. It
// costs nothing at the database.
func (db *DB) Wake(tx Tx, signal string) {
	OnCommit(tx, func() { db.wakeups.wake(signal) })
}

// WakeEveryone wakes the listeners of the signal in every process on this
// database once tx has committed: by NOTIFY on PostgreSQL, within the process
// on SQLite. PostgreSQL lets transactions that notify commit one after another,
// so it is for writers of batches, not for every request.
func (db *DB) WakeEveryone(ctx context.Context, tx Tx, signal string) error {
	db.Wake(tx, signal)
	if db.dialect != Postgres {
		return nil
	}
	_, err := Queued(tx).ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, db.id+" "+signal)
	return err
}

// Listen passes other processes' wake-ups on to this process's listeners until
// ctx is done. It holds one connection on PostgreSQL, connects again by itself,
// and does nothing on SQLite. Without it everything still works, at the pace of
// each listener's poll.
func (db *DB) Listen(ctx context.Context, logger *slog.Logger) error {
	if db.dialect != Postgres {
		<-ctx.Done()
		return nil
	}
	pause := backoff.NewExponentialBackOff()
	pause.MaxInterval = 5 * time.Second
	for {
		err := db.listen(ctx, pause.Reset)
		if ctx.Err() != nil {
			return nil
		}
		wait := pause.NextBackOff()
		logger.WarnContext(ctx, "listening for wake-ups failed, polling meanwhile", "error", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (db *DB) listen(ctx context.Context, connected func()) error {
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		// A connection that has listened must not go back to the pool.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = conn.Close()
	}()
	return conn.Raw(func(driverConn any) error {
		pg := driverConn.(*stdlib.Conn).Conn()
		if _, err := pg.Exec(ctx, "LISTEN "+channel); err != nil {
			return err
		}
		connected()
		db.wakeups.wakeAll() // whatever was missed while not listening
		for {
			notification, err := pg.WaitForNotification(ctx)
			if err != nil {
				return errors.Join(err, pg.Close(context.WithoutCancel(ctx)))
			}
			if sender, signal, _ := strings.Cut(notification.Payload, " "); sender != db.id {
				db.wakeups.wake(signal) // our own has woken us at the commit
			}
		}
	})
}
