package envelope

import (
	"context"
	"reflect"
)

type contextKey struct{}

// NewContext returns a context that carries the header of the event being
// handled. What is published under it becomes that event's effect.
func NewContext(ctx context.Context, cause Header) context.Context {
	return context.WithValue(ctx, contextKey{}, cause)
}

// FromContext returns the header of the event being handled, if there is one.
func FromContext(ctx context.Context) (Header, bool) {
	cause, ok := ctx.Value(contextKey{}).(Header)
	return cause, ok
}

// CausedBy takes over from the cause what a chain of events shares:
// correlation, depth and trace context. Without a cause (the zero Header) the
// event is the first of its chain.
func (h *Header) CausedBy(cause Header) error {
	if cause.ID == "" {
		h.CorrelationID = h.ID
		return nil
	}
	h.CorrelationID, h.CausationID = cause.CorrelationID, cause.ID
	if h.CorrelationID == "" {
		h.CorrelationID = cause.ID
	}
	h.Depth = cause.Depth + 1
	h.TraceParent = cause.TraceParent
	if h.Depth > MaxDepth {
		return h.fail(ErrTooDeep, nil, "publishing it would be number %d in a chain of events, at most %d: do two handlers answer each other?", h.Depth, MaxDepth)
	}
	return nil
}

// Declared is what a part of the service has said that it publishes.
type Declared struct {
	// By is the name of the consumer or producer.
	By string
	// Payloads are the Go types of the events' payloads.
	Payloads []reflect.Type
}

type declaredKey struct{}

// WithDeclared returns a context under which the part that made the declaration
// is at work. d must not change afterwards.
func WithDeclared(ctx context.Context, d *Declared) context.Context {
	return context.WithValue(ctx, declaredKey{}, d)
}

// DeclaredFrom returns what may be published under ctx; false if anything may.
func DeclaredFrom(ctx context.Context) (*Declared, bool) {
	d, ok := ctx.Value(declaredKey{}).(*Declared)
	return d, ok
}
