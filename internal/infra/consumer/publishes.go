package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"example.com/millwright/internal/infra/envelope"
)

// Publication declares an event type that is published. Make one with Publishes.
type Publication struct{ payload reflect.Type }

// Publishes declares that the consumer's handlers publish events of payload T.
// Publishing what isn't declared fails, or is a warning in the log: see
// outbox.PublisherConfig. From the declarations comes the graph of events
// (package topology), which takes it that each event the consumer handles may
// cause each that it publishes. Where that is wrong, make it two consumers.
func Publishes[T any]() Publication { return Publication{reflect.TypeFor[T]()} }

func (p Publication) apply(c *Consumer) { c.publishes = append(c.publishes, p.payload) }

// Producer is a part of the service that publishes without handling an event,
// such as an HTTP API. Make one with NewProducer.
type Producer struct{ declared envelope.Declared }

// NewProducer declares a producer. Its mistakes are reported by Publishes.
func NewProducer(name string, publishes ...Publication) Producer {
	d := envelope.Declared{By: name}
	for _, p := range publishes {
		d.Payloads = append(d.Payloads, p.payload)
	}
	return Producer{d}
}

// Name is the producer's name.
func (p Producer) Name() string { return p.declared.By }

// Context returns a context for the producer's work, under which it is held to
// its declaration as a consumer's handlers are to theirs.
func (p Producer) Context(ctx context.Context) context.Context {
	return envelope.WithDeclared(ctx, &p.declared)
}

// Publishes returns the event types that the producer has declared, in the order
// of their names, and an error for what is wrong with the declaration.
func (p Producer) Publishes(catalog *envelope.Catalog) ([]*envelope.Entry, error) {
	who := fmt.Sprintf("producer %q", p.Name())
	var problems []error
	if !nameForm.MatchString(p.Name()) {
		problems = append(problems, fmt.Errorf("%s: the name must be lower-case words joined by hyphens, such as web-api", who))
	}
	if len(p.declared.Payloads) == 0 {
		problems = append(problems, fmt.Errorf("%s: it publishes nothing: add Publishes", who))
	}
	found, err := entries(who, p.declared.Payloads, catalog)
	return found, errors.Join(append(problems, err)...)
}

// Publishes returns the event types that the consumer has declared to publish, in
// the order of their names, and an error for each that isn't in the catalog.
func (c Consumer) Publishes(catalog *envelope.Catalog) ([]*envelope.Entry, error) {
	return entries(fmt.Sprintf("consumer %q", c.name), c.publishes, catalog)
}

// Handles returns the event types that the consumer handles, in the order of
// their names, and an error for each that isn't in the catalog.
func (c Consumer) Handles(catalog *envelope.Catalog) ([]*envelope.Entry, error) {
	return entries(fmt.Sprintf("consumer %q", c.name), slices.Collect(maps.Keys(c.handlers)), catalog)
}

func entries(who string, payloads []reflect.Type, catalog *envelope.Catalog) ([]*envelope.Entry, error) {
	var found []*envelope.Entry
	var problems []error
	for _, payload := range payloads {
		entry, err := catalog.OfPayload(payload)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", who, err))
			continue
		}
		found = append(found, entry)
	}
	slices.SortFunc(found, func(a, b *envelope.Entry) int { return strings.Compare(a.Name, b.Name) })
	return slices.Compact(found), errors.Join(problems...)
}
