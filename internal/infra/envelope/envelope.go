package envelope

import (
	"encoding/json"
	"time"
)

// Version of the CloudEvents specification written and read.
const SpecVersion = "1.0"

// MaxDepth is the longest chain of events that caused one another. An event
// deeper than that is taken for a loop and refused.
const MaxDepth = 16

// Header is an event without its payload: CloudEvents' attributes and this
// project's extensions.
type Header struct {
	// ID identifies the event together with Source: a UUIDv7 if this project
	// made it.
	ID string
	// Source is the identity of the producer.
	Source string
	// Type is the event type's name, such as "orders.placed".
	Type string
	// Subject is what the event is about within the source; may be empty.
	Subject string
	// Time is when it happened.
	Time time.Time
	// DataContentType is the payload's media type; empty means JSON.
	DataContentType string
	// DataSchema is the URI of the payload's schema; may be empty.
	DataSchema string
	// SchemaVersion is the version of the payload's schema, from 1.
	SchemaVersion int
	// FallbackVersion is an older version in which the same event comes as well, for
	// those who can't read SchemaVersion; 0 if it doesn't. See Downcast.
	FallbackVersion int
	// PartitionKey is the key within which events stay in order.
	PartitionKey string
	// CorrelationID is shared by all events that go back to one cause: the ID of
	// the first of them, or what the first request brought along.
	CorrelationID string
	// CausationID is the ID of the event whose handler published this one; empty
	// for the first.
	CausationID string
	// Depth counts the events before this one in its chain: 0 for the first.
	Depth int
	// TraceParent is the W3C trace context; may be empty.
	TraceParent string
	// Extensions holds the attributes that this build doesn't know, as JSON, so
	// that they survive being passed on.
	Extensions map[string]json.RawMessage
}

// Envelope is an event as it travels: a header and a payload not yet decoded.
type Envelope struct {
	Header
	// Data is the payload: JSON, unless DataContentType says otherwise.
	Data json.RawMessage
}

// Event is what a handler gets.
type Event[T any] struct {
	Header
	// Data is the payload, upcast to the current version if it was older.
	// SchemaVersion still says which version arrived.
	Data T
}
