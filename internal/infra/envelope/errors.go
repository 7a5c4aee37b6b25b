package envelope

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with an event. Match with errors.Is; the error's text names
// the attribute, the value and, where there is one, the way out.
var (
	// ErrMalformed: not a CloudEvents envelope that can be read.
	ErrMalformed = errors.New("malformed envelope")
	// ErrMissingAttribute: a required attribute is absent or empty.
	ErrMissingAttribute = errors.New("missing attribute")
	// ErrUnknownType: the catalog has no such event type.
	ErrUnknownType = errors.New("unknown event type")
	// ErrNewerVersion: written by a newer build than this one.
	ErrNewerVersion = errors.New("newer schema version")
	// ErrUnsupportedVersion: so old that no upcaster is left for it.
	ErrUnsupportedVersion = errors.New("unsupported schema version")
	// ErrUnknownFields: the payload has fields that its version does not.
	ErrUnknownFields = errors.New("unknown fields")
	// ErrPayload: the payload doesn't decode into its type, or an upcaster
	// refused it.
	ErrPayload = errors.New("malformed payload")
	// ErrTooDeep: the chain of events is longer than MaxDepth.
	ErrTooDeep = errors.New("chain of events too deep")
	// ErrUndeclared: a consumer or producer publishes a type that it hasn't declared.
	ErrUndeclared = errors.New("undeclared event type")
)

// Error is one of the errors above with what it is about.
type Error struct {
	// Kind is one of the package's sentinel errors.
	Kind error
	// Event names the event: its type, version and id as far as they are known.
	Event string
	// Detail says what was found and what to do.
	Detail string
	// Cause is the decoder's own error, or nil.
	Cause error
}

func (e *Error) Error() string {
	text := "envelope: " + e.Kind.Error()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	if e.Event != "" {
		text += " (" + e.Event + ")"
	}
	return text
}

// Unwrap makes errors.Is find the kind and errors.As the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// Permanent reports that trying again doesn't help.
func (e *Error) Permanent() bool { return true }

func (h Header) fail(kind error, cause error, format string, args ...any) error {
	event := h.Type
	if h.SchemaVersion != 0 {
		event = strings.TrimSpace(fmt.Sprintf("%s v%d", event, h.SchemaVersion))
	}
	if h.ID != "" {
		event = strings.TrimPrefix(fmt.Sprintf("%s, id %q", event, h.ID), ", ")
	}
	return &Error{Kind: kind, Event: event, Detail: fmt.Sprintf(format, args...), Cause: cause}
}
