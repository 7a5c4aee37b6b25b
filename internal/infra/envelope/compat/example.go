package compat

import (
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"slices"

	"github.com/invopop/jsonschema"
)

// Example returns a small valid value with every property, as encoding/json
// decodes one with UseNumber. It takes the schema's examples, default or first
// enum value where there is one that is valid, and stops at a type inside itself.
func Example(s *jsonschema.Schema) (any, error) { return exampleOf(s, false) }

// MinimalExample returns a valid value with the required properties only.
func MinimalExample(s *jsonschema.Schema) (any, error) { return exampleOf(s, true) }

func exampleOf(s *jsonschema.Schema, minimal bool) (any, error) {
	c := newChecker()
	p, err := c.read(s)
	if err != nil {
		return nil, err
	}
	least := c.witness(p)
	value := least.value
	if !minimal && least.exists {
		full := (&exampler{c, map[string]bool{}, maxExample}).example(p)
		if size(full, maxSize) <= maxSize && c.accepts(p.nodes, full) {
			value, least.shown = full, true
		}
	}
	switch {
	case c.err != nil:
		return nil, c.err
	case !least.exists:
		return nil, errors.New("compat: no value is valid under the schema")
	case !least.shown:
		return nil, errors.New("compat: no valid value was found: give one in the schema's examples")
	}
	return value, nil
}

// maxExample is how many parts of an example are looked at.
const maxExample = 1000

type exampler struct {
	*checker
	open map[string]bool // the places around
	left int
}

func (e *exampler) example(p place) any {
	least := e.witness(p)
	if e.left--; e.left < 0 || e.open[p.key] {
		return least.value
	}
	e.open[p.key] = true
	defer delete(e.open, p.key)
	var chosen *shape
	for _, s := range e.expand(p) {
		for _, needed := range s.needs() {
			e.witness(needed)
		}
		if !e.shapeWitness(s).exists {
			continue
		}
		for _, n := range s.nodes {
			for _, hint := range n.hints {
				if e.accepts(p.nodes, hint) {
					return hint
				}
			}
		}
		// A value says more than null, and a string more than any type.
		if chosen == nil || chosen.kind == null || len(p.nodes) == 0 && s.kind == text {
			chosen = s
		}
	}
	if chosen == nil {
		return least.value
	}
	return e.exampleOf(chosen)
}

func (e *exampler) exampleOf(s *shape) any {
	least := e.shapeWitness(s)
	switch {
	case s.listed:
		return s.values[0]
	case s.kind == number && s.numbers.holds(big.NewRat(1, 1)):
		return json.Number("1")
	case s.kind == text:
		if some := s.text.some(); len(some) > 0 {
			return some[0]
		}
	case s.kind == array:
		items := s.items()
		if e.witness(items).exists && !e.open[items.key] {
			if v, ok := e.arrayWith(s, e.example(items)); ok {
				return v
			}
		}
	case s.kind == object:
		return e.object(s, least)
	}
	return least.value
}

func (e *exampler) object(s *shape, least witness) any {
	value, ok := maps.Clone(least.value.(map[string]any)), least.shown
	if !ok {
		value = map[string]any{}
	}
	names := s.names()
	for _, name := range names {
		p := s.property(name)
		if e.witness(p).exists && !(e.open[p.key] && !s.requires(name)) {
			value[name] = e.example(p)
		}
	}
	for _, class := range e.otherNames(s, s, names) {
		p := class.writer
		if class.real && len(p.nodes) > 0 && e.witness(p).exists && !e.open[p.key] && !slices.Contains(names, class.name) {
			value[class.name] = e.example(p)
		}
	}
	return value
}
