package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

// failure is what is known about why an event was given up on. It travels in the
// message's context, as PoisonQueue hands on no more than a text.
type failure struct {
	topic    string
	attempts int
	firstAt  time.Time
	err      error
}

type failureKey struct{}

// Middleware returns Watermill's PoisonQueue into this store. It goes outside
// the retries, with Attempts inside of them. An event whose error gaveUp
// rejects is left to the broker: it was interrupted, not handled in vain.
func (s *Store) Middleware(consumer, topic string, gaveUp func(error) bool) (message.HandlerMiddleware, error) {
	poison, err := middleware.PoisonQueueWithFilter(s, consumer, gaveUp)
	if err != nil {
		return nil, fmt.Errorf("deadletter: consumer %q: %w", consumer, err)
	}
	return func(next message.HandlerFunc) message.HandlerFunc {
		poisoned := poison(next)
		return func(m *message.Message) ([]*message.Message, error) {
			m.SetContext(context.WithValue(m.Context(), failureKey{}, &failure{topic: topic}))
			return poisoned(m)
		}
	}, nil
}

// Attempts returns middleware that notes each failed attempt for the dead
// letter. It goes inside the retries.
func Attempts(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		f, ok := m.Context().Value(failureKey{}).(*failure)
		produced, err := next(m)
		if err != nil && ok {
			if f.attempts == 0 {
				f.firstAt = time.Now()
			}
			f.attempts++
			f.err = err
		}
		return produced, err
	}
}

// Failures is how many attempts at the message in ctx have failed so far, as
// noted by Attempts.
func Failures(ctx context.Context) int {
	if f, ok := ctx.Value(failureKey{}).(*failure); ok {
		return f.attempts
	}
	return 0
}

// failureFrom reads what Attempts noted; for a message that came another way,
// what PoisonQueue wrote.
func failureFrom(m *message.Message) failure {
	if f, ok := m.Context().Value(failureKey{}).(*failure); ok && f.err != nil {
		return *f
	}
	return failure{
		topic:    m.Metadata.Get(middleware.PoisonedTopicKey),
		attempts: 1, firstAt: time.Now(),
		err: errors.New(m.Metadata.Get(middleware.ReasonForPoisonedKey)),
	}
}

// headline is the error's text; of a panic, without the stack.
func (f failure) headline() string {
	if p, ok := errors.AsType[middleware.RecoveredPanicError](f.err); ok {
		return fmt.Sprintf("panic: %v", p.V)
	}
	return f.err.Error()
}

// stack is where a panic happened. Errors have none.
func (f failure) stack() string {
	if p, ok := errors.AsType[middleware.RecoveredPanicError](f.err); ok {
		return p.Stacktrace
	}
	return ""
}

// Cause is one error of a chain.
type Cause struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// chain lists the error and what it wraps, outermost first.
func (f failure) chain() []Cause {
	if _, ok := errors.AsType[middleware.RecoveredPanicError](f.err); ok {
		return []Cause{{Type: "panic", Message: f.headline()}}
	}
	var chain []Cause
	var walk func(error)
	walk = func(err error) {
		if err == nil {
			return
		}
		chain = append(chain, Cause{Type: fmt.Sprintf("%T", err), Message: err.Error()})
		switch wrapper := err.(type) {
		case interface{ Unwrap() error }:
			walk(wrapper.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range wrapper.Unwrap() {
				walk(e)
			}
		}
	}
	walk(f.err)
	return chain
}
