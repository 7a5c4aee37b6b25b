package consumer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"time"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

// Defaults of the options.
const (
	DefaultRetries           = 3
	DefaultTimeout           = 30 * time.Second
	DefaultConcurrency       = 4
	DefaultEffectConcurrency = 16
)

// Consumer is a named set of handlers. Make one with New.
type Consumer struct {
	name        string
	handlers    map[reflect.Type]handler // by payload type
	publishes   []reflect.Type           // payload types of what its handlers publish
	effect      bool
	retries     int
	timeout     time.Duration
	timedOut    error // what a handler that takes longer has failed with
	concurrency int
	alone       bool
	problems    []error
}

// handler calls the user's function with a decoded payload. tx is nil for an
// effect.
type handler func(ctx context.Context, tx database.Tx, header envelope.Header, payload any) error

// Option adds something to a consumer's declaration or changes how it is run.
type Option interface{ apply(*Consumer) }

type option func(*Consumer)

func (o option) apply(c *Consumer) { o(c) }

// nameForm keeps a name usable as part of every broker's group or queue name.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// New declares a consumer. Its mistakes are reported by NewRouter, all at once.
func New(name string, options ...Option) Consumer {
	c := Consumer{name: name, handlers: map[reflect.Type]handler{}, retries: DefaultRetries, timeout: DefaultTimeout}
	if !nameForm.MatchString(name) {
		c.problem("the name must be lower-case words joined by hyphens, such as reserve-stock")
	}
	for _, option := range options {
		option.apply(&c)
	}
	if len(c.handlers) == 0 {
		c.problem("it handles nothing: add On or OnEffect")
	}
	c.timedOut = timeoutAfter(c.timeout)
	if c.concurrency == 0 {
		c.concurrency = DefaultConcurrency
		if c.effect {
			c.concurrency = DefaultEffectConcurrency
		}
	}
	return c
}

// On handles events of payload T by work in the service's database. Whatever
// handle does with tx, the record that the event was handled, and the events it
// publishes in tx commit together or not at all: the effect happens once,
// however often the event is delivered.
//
// handle may be called again for the same event after an error or a crash, and
// must do nothing outside tx. An error rolls back and is retried; wrap it with
// [Permanent] if trying again can't help.
func On[T any](handle func(ctx context.Context, tx database.Tx, event envelope.Event[T]) error) Option {
	return option(func(c *Consumer) {
		c.add(reflect.TypeFor[T](), false, func(ctx context.Context, tx database.Tx, header envelope.Header, payload any) error {
			return handle(ctx, tx, envelope.Event[T]{Header: header, Data: payload.(T)})
		})
	})
}

// OnEffect handles events of payload T by work outside the database: mail, an
// HTTP call. No transaction is open meanwhile. The event is recorded as handled
// after handle returned nil; a crash between the two repeats the call, so hand
// on the event's ID as the idempotency key.
func OnEffect[T any](handle func(ctx context.Context, event envelope.Event[T]) error) Option {
	return option(func(c *Consumer) {
		c.add(reflect.TypeFor[T](), true, func(ctx context.Context, _ database.Tx, header envelope.Header, payload any) error {
			return handle(ctx, envelope.Event[T]{Header: header, Data: payload.(T)})
		})
	})
}

// Retry sets how often a failed event is tried again before it becomes a dead
// letter. Defaults to DefaultRetries.
func Retry(times int) Option {
	return option(func(c *Consumer) {
		if times < 0 {
			c.problem("Retry(%d): want 0 or more", times)
		}
		c.retries = times
	})
}

// Timeout bounds one call of a handler; one that doesn't return in time has
// failed, and its transaction is rolled back under it. Defaults to
// DefaultTimeout.
func Timeout(d time.Duration) Option {
	return option(func(c *Consumer) {
		if d <= 0 {
			c.problem("Timeout(%s): want more than zero", d)
		}
		c.timeout = d
	})
}

// Concurrency bounds how much one instance does at a time: for On how many
// transactions, each of which handles a group of events of different keys, for
// OnEffect how many events. Defaults to DefaultConcurrency and
// DefaultEffectConcurrency. Transactions are fewer where the pool's connections
// must do for many consumers, or where they would only wait for each other's
// locks; on SQLite, which has one writer, there is one.
func Concurrency(n int) Option {
	return option(func(c *Consumer) {
		if n < 1 {
			c.problem("Concurrency(%d): want 1 or more", n)
		}
		c.concurrency = n
	})
}

// Alone gives every event a transaction of its own. By default the events that
// wait at the same time share one, which is many times faster; a handler must
// not share if it changes the transaction itself (SET LOCAL, LOCK TABLE), or if
// it takes so long that others should not wait for its commit.
func Alone() Option { return option(func(c *Consumer) { c.alone = true }) }

// Name is the consumer's name.
func (c Consumer) Name() string { return c.name }

func (c *Consumer) add(payload reflect.Type, effect bool, h handler) {
	switch {
	case c.handlers[payload] != nil:
		c.problem("%s has two handlers", payload)
	case len(c.handlers) > 0 && c.effect != effect:
		c.problem("On and OnEffect can't be mixed: make it two consumers")
	}
	c.handlers[payload], c.effect = h, effect
}

func (c *Consumer) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("consumer %q: "+format, append([]any{c.name}, args...)...))
}

// permanent marks an error that trying again doesn't help.
type permanent struct{ error }

func (p permanent) Unwrap() error   { return p.error }
func (p permanent) Permanent() bool { return true }

// Permanent marks err as one that trying again can't help: the event becomes a
// dead letter at once. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent reports whether err, or one it wraps, was marked with Permanent or
// says so itself, as the errors of package envelope do.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}
