package compat

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
)

// Mode says which versions have to read which, by the definitions of
// Confluent's schema registry.
type Mode string

// The modes. The plain ones are about the last version, the transitive ones
// about all earlier ones.
const (
	// Backward: the new schema reads what the last one wrote. Consumers are deployed first.
	Backward           Mode = "BACKWARD"
	BackwardTransitive Mode = "BACKWARD_TRANSITIVE"
	// Forward: the last schema reads what the new one writes. Producers are deployed first.
	Forward           Mode = "FORWARD"
	ForwardTransitive Mode = "FORWARD_TRANSITIVE"
	// Full: both.
	Full           Mode = "FULL"
	FullTransitive Mode = "FULL_TRANSITIVE"
	// None: nothing is compared.
	None Mode = "NONE"
)

var modes = []Mode{Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive, None}

// ParseMode reads a mode, in upper or lower case.
func ParseMode(s string) (Mode, error) {
	mode := Mode(strings.ToUpper(s))
	if slices.Contains(modes, mode) {
		return mode, nil
	}
	var names []string
	for _, m := range modes {
		names = append(names, string(m))
	}
	return "", fmt.Errorf("compat: mode %q: use one of %s", s, strings.Join(names, ", "))
}

// Transitive reports whether the mode is about all earlier schemas.
func (m Mode) Transitive() bool { return strings.HasSuffix(string(m), "_TRANSITIVE") }

// Direction says who can't read whom.
type Direction string

// The directions.
const (
	// DirectionBackward: the new schema doesn't read an old event.
	DirectionBackward Direction = "backward"
	// DirectionForward: the old schema doesn't read a new event.
	DirectionForward Direction = "forward"
)

// Rule is the kind of a difference, seen from writer to reader whatever the
// direction. The words are stable.
type Rule string

// The rules.
const (
	// PropertyUnknown: the writer may send a property that the reader refuses.
	PropertyUnknown Rule = "property-unknown"
	// PropertyAddedRequired: the reader requires a property that the writer doesn't have.
	PropertyAddedRequired Rule = "property-added-required"
	// RequiredAdded: the reader requires a property that is optional for the writer.
	RequiredAdded Rule = "required-added"
	// TypeChanged: the reader takes none of the writer's types.
	TypeChanged Rule = "type-changed"
	// TypeNarrowed: the reader takes some of the writer's types, or integers where the writer has numbers.
	TypeNarrowed Rule = "type-narrowed"
	// EnumNarrowed: the reader doesn't allow all values: its enum or const is
	// narrower, or it refuses one that the writer lists.
	EnumNarrowed Rule = "enum-narrowed"
	// BoundTightened: a number, a string or an array may be out of the reader's bounds.
	BoundTightened Rule = "bound-tightened"
	// MultipleChanged: the reader's multipleOf doesn't divide the writer's.
	MultipleChanged Rule = "multiple-changed"
	// PatternChanged: the reader has a pattern that the writer doesn't have.
	PatternChanged Rule = "pattern-changed"
	// FormatChanged: the reader has a format, or base64, that the writer doesn't have.
	FormatChanged Rule = "format-changed"
	// UniqueAdded: the reader wants each item once.
	UniqueAdded Rule = "unique-added"
	// AlternativesNarrowed: what the writer may send fits into none of the reader's alternatives.
	AlternativesNarrowed Rule = "alternatives-narrowed"
)

// Difference is a place where the reader's schema doesn't allow what the
// writer's does.
type Difference struct {
	// Direction is empty in the result of Differences.
	Direction Direction `json:"direction,omitempty"`
	// Pointer is the place in the value, as in the counterexample: a JSON
	// pointer (RFC 6901), such as /items/0/sku.
	Pointer string `json:"pointer"`
	// Field is the last property in Pointer, empty at the top.
	Field string `json:"field,omitempty"`
	Rule  Rule   `json:"rule"`
	// Message says in a sentence what an old event or an old consumer meets.
	Message string `json:"message"`
	// Counterexample is a whole value that the writer's schema allows and the
	// reader's doesn't. It is empty where none was found.
	Counterexample json.RawMessage `json:"counterexample,omitempty"`
	// Against is the index of the earlier schema, 0 in the result of Differences.
	Against int `json:"against"`
}

// Check compares the next schema with earlier ones, oldest first, as the mode
// says. The result is in the order of the earlier ones, backward before forward.
// The error names what is outside the subset of this package.
func Check(mode Mode, next *jsonschema.Schema, earlier ...*jsonschema.Schema) ([]Difference, error) {
	if _, err := ParseMode(string(mode)); err != nil {
		return nil, err
	}
	if mode == None {
		return nil, nil
	}
	if _, err := newChecker().read(next); err != nil {
		return nil, fmt.Errorf("the new schema: %w", err)
	}
	first := max(len(earlier)-1, 0)
	if mode.Transitive() {
		first = 0
	}
	var all []Difference
	for i := first; i < len(earlier); i++ {
		if !strings.HasPrefix(string(mode), string(Forward)) {
			found, err := differences(earlier[i], next, side{DirectionBackward, i, "An old event", "the new schema"})
			if err != nil {
				return nil, fmt.Errorf("earlier schema %d: %w", i, err)
			}
			all = append(all, found...)
		}
		if !strings.HasPrefix(string(mode), string(Backward)) {
			found, err := differences(next, earlier[i], side{DirectionForward, i, "A new event", "an old consumer"})
			if err != nil {
				return nil, fmt.Errorf("earlier schema %d: %w", i, err)
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// Differences returns the places where the reader's schema doesn't allow what
// the writer's does, at most 100 of them. None means that each value of the
// writer's is one of the reader's.
func Differences(writer, reader *jsonschema.Schema) ([]Difference, error) {
	return differences(writer, reader, side{writer: "The writer", reader: "the reader"})
}

// side says how to tell of differences.
type side struct {
	direction      Direction
	against        int
	writer, reader string
}

func differences(writer, reader *jsonschema.Schema, s side) ([]Difference, error) {
	c := newChecker()
	w, err := c.read(writer)
	if err != nil {
		return nil, fmt.Errorf("the writer's: %w", err)
	}
	r, err := c.read(reader)
	if err != nil {
		return nil, fmt.Errorf("the reader's: %w", err)
	}
	var all []Difference
	words := strings.NewReplacer("{writer}", s.writer, "{reader}", s.reader)
	for _, f := range c.compare(w, r) {
		d := Difference{Direction: s.direction, Rule: f.rule, Message: words.Replace(f.say) + ".", Against: s.against}
		var pointer strings.Builder
		for at := f.path; at != nil; at = at.rest {
			pointer.WriteString("/" + escape(at.token))
			if at.property {
				d.Field = at.token
			}
		}
		d.Pointer = pointer.String()
		if f.shown && c.accepts(w.nodes, f.value) && !c.accepts(r.nodes, f.value) {
			if d.Counterexample, err = json.Marshal(f.value); err != nil {
				return nil, fmt.Errorf("compat: write the counterexample: %w", err)
			}
		}
		all = append(all, d)
	}
	if c.err != nil {
		return nil, c.err
	}
	return all, nil
}
