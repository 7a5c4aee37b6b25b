// Package contract tells people and programs what a service's events are, and
// what a change of them means for those who have written or will read them.
package contract

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/invopop/jsonschema"

	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/compat"
	"example.com/millwright/internal/infra/envelope/schema"
)

// Service is what there is to know about a service's events.
type Service struct {
	Name    string
	Version string
	// Broker is the kind of broker that carries the events, as BROKER names it.
	Broker string
	// Events are in the order of their names.
	Events []Event
}

// Event is an event type.
type Event struct {
	Name, Topic, Owner string
	// Key is the JSON pointer of the partition key, or schema.Computed.
	Key string
	// Compatibility says how the payload may change within a version.
	Compatibility string
	// Versions that can be read, the current one first.
	Versions []Version
	// Producers and Consumers are the parts of this service that publish and
	// handle it.
	Producers, Consumers []string
}

// Version is a version of an event type.
type Version struct {
	*schema.Document
	Current bool
	// Example is an event of that version as it travels.
	Example json.RawMessage
	Fields  []Field
}

// Field is a field of a payload.
type Field struct {
	// Name is the path of the field: items[].sku.
	Name, Type, Description string
	Required                bool
}

// Parties says which parts of a service publish and handle an event type.
type Parties interface {
	Producers(eventType string) []string
	Consumers(eventType string) []string
}

// Describe gathers what there is to know about the catalog's events.
func Describe(name, version, broker string, catalog *envelope.Catalog, set *schema.Set, parties Parties) (Service, error) {
	s := Service{Name: name, Version: version, Broker: broker}
	for _, entry := range catalog.Types() {
		e := Event{
			Name: entry.Name, Topic: entry.Topic, Owner: entry.Owner, Compatibility: entry.Compatibility,
			Producers: parties.Producers(entry.Name), Consumers: parties.Consumers(entry.Name),
		}
		for v := entry.Version; v >= entry.OldestVersion(); v-- {
			document := set.Document(entry.Name, v)
			example, err := exampleOf(name, document)
			if err != nil {
				return s, fmt.Errorf("contract: example of %s: %w", document, err)
			}
			e.Versions = append(e.Versions, Version{Document: document, Current: v == entry.Version, Example: example, Fields: fields(document.Schema)})
		}
		e.Key = e.Versions[0].Key
		s.Events = append(s.Events, e)
	}
	return s, nil
}

// The identity of all examples.
const exampleID = "01985b60-0000-7000-8000-000000000001"

var exampleTime = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func exampleOf(source string, d *schema.Document) (json.RawMessage, error) {
	value, err := compat.Example(d.Schema)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return envelope.Envelope{
		Header: envelope.Header{
			ID: exampleID, Source: source, Type: d.Type, Time: exampleTime, SchemaVersion: d.Version,
			PartitionKey: at(value, d.Key), CorrelationID: exampleID,
		},
		Data: data,
	}.MarshalJSON()
}

// at is the text of what a JSON pointer points to, without indexes; "key" if there
// is no such place.
func at(value any, pointer string) string {
	if pointer == schema.Computed {
		return "key"
	}
	for token := range jsontext.Pointer(pointer).Tokens() {
		object, _ := value.(map[string]any)
		value = object[token]
	}
	if value == nil {
		return "key"
	}
	return fmt.Sprint(value)
}

// fields lists all fields of an object, also those further down, in the order of
// the schema.
func fields(root *jsonschema.Schema) []Field {
	var all []Field
	within := map[string]bool{} // definitions on the way down, which may be recursive
	var walk func(s *jsonschema.Schema, path string)
	walk = func(s *jsonschema.Schema, path string) {
		if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
			if within[name] || root.Definitions[name] == nil {
				return
			}
			within[name] = true
			defer delete(within, name)
			walk(root.Definitions[name], path)
		}
		if s.Items != nil {
			walk(s.Items, path+"[]")
		}
		if s.AdditionalProperties != nil {
			walk(s.AdditionalProperties, path+"{}")
		}
		if s.Properties == nil {
			return
		}
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			name := strings.TrimPrefix(path+"."+p.Key, ".")
			all = append(all, Field{Name: name, Type: typeName(p.Value), Description: p.Value.Description, Required: slices.Contains(s.Required, p.Key)})
			walk(p.Value, name)
		}
	}
	walk(root, "")
	return all
}

// typeName says in a few words what values a schema allows.
func typeName(s *jsonschema.Schema) string {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		return name
	}
	var words []string
	switch {
	case s.Type == "array" && s.Items != nil:
		words = append(words, "array of "+typeName(s.Items))
	case s.Type != "":
		words = append(words, s.Type)
	case len(s.OneOf) > 0:
		var options []string
		for _, option := range s.OneOf {
			options = append(options, typeName(option))
		}
		words = append(words, strings.Join(options, " or "))
	default:
		words = append(words, "anything")
	}
	if s.Format != "" {
		words = append(words, "("+s.Format+")")
	}
	if len(s.Enum) > 0 {
		var values []string
		for _, v := range s.Enum {
			values = append(values, fmt.Sprint(v))
		}
		words = append(words, "of "+strings.Join(values, ", "))
	}
	if s.Minimum != "" {
		words = append(words, "≥ "+s.Minimum.String())
	}
	if s.Maximum != "" {
		words = append(words, "≤ "+s.Maximum.String())
	}
	if s.MinItems != nil {
		return fmt.Sprintf("%s, %d or more", strings.Join(words, " "), *s.MinItems)
	}
	return strings.Join(words, " ")
}
