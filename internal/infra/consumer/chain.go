package consumer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/inbox"
)

// chain is the way of every event to its handler, outermost first.
func (r *Router) chain(c Consumer, topic string) ([]message.HandlerMiddleware, error) {
	deadLetter, err := r.dead.Middleware(c.name, topic, r.gaveUp)
	if err != nil {
		return nil, err
	}
	inbox := r.inbox.Transaction(c.name, c.concurrency, c.alone)
	if c.effect {
		inbox = r.inbox.Effect(c.name, c.concurrency)
	}
	return []message.HandlerMiddleware{
		r.detach,             // a closing subscriber must not interrupt work that may still finish in time
		deadLetter,           // outside the retries: only what is given up on becomes a dead letter
		r.retry(c),           // outside the transaction: every attempt gets a new one
		retryAlone,           // what has failed once doesn't make others wait again
		deadletter.Attempts,  // inside the retries: counts each of them
		middleware.Recoverer, // a panic is an error like any other
		r.decode(c),          // before the transaction: what can't be read must not cost one
		inbox,                // the processed row, the handler's work and its events, or none
		// The handler itself, with its timeout, in Router.handle: waiting for a
		// transaction doesn't count as the handler's time.
	}, nil
}

// detach gives the message a context of its own, which ends when the time for a
// graceful stop is over, not when the subscriber closes.
func (r *Router) detach(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(m.Context()))
		defer cancel(nil)
		defer context.AfterFunc(r.hard, func() { cancel(errStopping) })()
		m.SetContext(ctx)
		return next(m)
	}
}

// gaveUp reports whether the event is to blame for an error that is left after
// the retries. If it was interrupted, or the database was away, the broker keeps
// it.
func (r *Router) gaveUp(err error) bool {
	return r.hard.Err() == nil && !errors.Is(err, inbox.ErrUnavailable)
}

// retry is Watermill's Retry, which is only troubled with messages that have
// failed once: nearly all of them don't.
func (r *Router) retry(c Consumer) message.HandlerMiddleware {
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			ctx := m.Context()
			produced, err := next(m)
			if err == nil {
				return produced, nil
			}
			m.SetContext(ctx)
			first := true
			return middleware.Retry{
				MaxRetries:          c.retries,
				InitialInterval:     r.config.RetryPause,
				MaxInterval:         r.config.MaxRetryPause,
				Multiplier:          2,
				RandomizationFactor: 0.5,
				ResetContextOnRetry: true,
				ShouldRetry: func(p middleware.RetryParams) bool {
					r.logger.WarnContext(m.Context(), "attempt failed", "consumer", c.name, "event_id", m.UUID, "attempt", p.RetryNum+1, "error", firstLine(p.Err))
					return !IsPermanent(p.Err)
				},
			}.Middleware(func(m *message.Message) ([]*message.Message, error) {
				if first {
					first = false
					return produced, err
				}
				return next(m)
			})(m)
		}
	}
}

// retryAlone keeps a message that has failed out of the others' transactions.
func retryAlone(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		if deadletter.Failures(m.Context()) > 0 {
			m.SetContext(inbox.Alone(m.Context()))
		}
		return next(m)
	}
}

// firstLine is enough of an error for a log: a panic's text has its stack.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// payloadKey is where decode leaves the payload.
type payloadKey struct{}

// decode reads the envelope, skips the event if the consumer has no handler for
// its type, and leaves header, payload and what may be published in the context.
func (r *Router) decode(c Consumer) message.HandlerMiddleware {
	handled := map[string]bool{}
	entries, _ := c.Handles(r.catalog) // checked by NewRouter
	for _, entry := range entries {
		handled[entry.Name] = true
	}
	declared := &envelope.Declared{By: c.name, Payloads: c.publishes}
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			event, err := envelope.FromMessage(m)
			if err != nil {
				return nil, err
			}
			if !handled[event.Type] {
				return nil, nil // another consumer's
			}
			if r.catalog.Skips(event) {
				r.logger.DebugContext(m.Context(), "left to its older version", "consumer", c.name, "event_id", event.ID, "event_type", event.Type, "version", event.SchemaVersion)
				return nil, nil
			}
			if r.config.Validate != nil {
				if err := r.config.Validate(event); err != nil {
					return nil, err
				}
			}
			payload, err := r.catalog.Decode(event)
			if err != nil {
				return nil, err
			}
			ctx := envelope.WithDeclared(envelope.NewContext(m.Context(), event.Header), declared)
			m.SetContext(context.WithValue(ctx, payloadKey{}, payload))
			return next(m)
		}
	}
}

// ErrTimeout means that a handler did not return in time.
var ErrTimeout error = timeout{}

type timeout struct{}

func (timeout) Error() string { return "handler timed out" }

// timeoutAfter is the ErrTimeout of a consumer's own limit.
func timeoutAfter(d time.Duration) error { return fmt.Errorf("%w after %s", ErrTimeout, d) }

// Timeout implements the convention of net.Error and context.DeadlineExceeded.
func (timeout) Timeout() bool { return true }

// abandonAfter is how long a handler whose time is over may take to notice.
const abandonAfter = time.Second

// handle calls the handler of the event in ctx. One that doesn't return in time
// is left behind: its context is done, its transaction will be rolled back, and
// nothing it does with it counts.
func (r *Router) handle(ctx context.Context, c Consumer) error {
	header, _ := envelope.FromContext(ctx)
	payload := ctx.Value(payloadKey{})
	handler, ok := c.handlers[reflect.TypeOf(payload)]
	if !ok {
		return fmt.Errorf("consumer %q: no handler for %T: the chain of middleware is put together wrongly", c.name, payload)
	}
	tx, _ := inbox.Tx(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, c.timedOut)
	defer cancel()
	returned := make(chan error, 1)
	r.crew.run(func() {
		defer func() {
			if p := recover(); p != nil {
				returned <- middleware.RecoveredPanicError{V: p, Stacktrace: string(debug.Stack())}
			}
		}()
		returned <- handler(ctx, tx, header, payload)
	})
	select {
	case err := <-returned:
		return causeOf(ctx, err)
	case <-ctx.Done():
	}
	late := time.NewTimer(abandonAfter)
	defer late.Stop()
	select {
	case err := <-returned:
		return causeOf(ctx, err)
	case <-late.C:
		return fmt.Errorf("%w, and it ignores its context", context.Cause(ctx))
	}
}

// causeOf replaces a bare "context deadline exceeded" by the reason.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}
