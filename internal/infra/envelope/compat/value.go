package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Values are as encoding/json decodes them with UseNumber: nil, bool,
// json.Number, string, []any, map[string]any. They are never changed in place.

func decodeNumbers(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var v any
	err := decoder.Decode(&v)
	return v, err
}

// plain turns a Go value into the JSON value that it is written as, with its
// numbers as json.Number.
func plain(value any) (any, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("the value can't be written as JSON: %w", err)
	}
	v, err := decodeNumbers(data)
	if err != nil {
		return nil, err
	}
	return v, exact(v, false)
}

// exact refuses numbers that can't be compared, and those that a float64 would
// round, if floats is true.
func exact(value any, floats bool) error {
	switch v := value.(type) {
	case json.Number:
		r, err := ratOf(v)
		if err != nil || !floats {
			return err
		}
		f, _ := v.Float64()
		rounded, err := ratOf(json.Number(strconv.FormatFloat(f, 'g', -1, 64)))
		if err != nil || rounded.Cmp(r) != 0 {
			return fmt.Errorf("the number %s would be rounded: leave it out, or use fewer digits", shorten(string(v)))
		}
	case []any:
		for _, item := range v {
			if err := exact(item, floats); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, item := range v {
			if err := exact(item, floats); err != nil {
				return err
			}
		}
	}
	return nil
}

func kindOf(v any) kind {
	switch v.(type) {
	case nil:
		return null
	case bool:
		return boolean
	case json.Number:
		return number
	case string:
		return text
	case []any:
		return array
	}
	return object
}

// equal compares as JSON Schema does: 1 and 1.0 are equal.
func equal(a, b any) bool {
	if kindOf(a) != kindOf(b) {
		return false
	}
	switch a := a.(type) {
	case json.Number:
		x, err := ratOf(a)
		y, otherErr := ratOf(b.(json.Number))
		return err == nil && otherErr == nil && x.Cmp(y) == 0
	case []any:
		return slices.EqualFunc(a, b.([]any), equal)
	case map[string]any:
		return maps.EqualFunc(a, b.(map[string]any), equal)
	}
	return a == b
}

func contains(values []any, v any) bool {
	return slices.ContainsFunc(values, func(other any) bool { return equal(v, other) })
}

// size is how many values v is made of, counted up to a little above limit.
func size(v any, limit int) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v) / 16
	case []any:
		for _, item := range v {
			if n > limit {
				break
			}
			n += size(item, limit-n)
		}
	case map[string]any:
		for _, item := range v {
			if n > limit {
				break
			}
			n += size(item, limit-n)
		}
	}
	return n
}

// accepts says whether all nodes allow the value.
func (c *checker) accepts(nodes []*node, v any) bool {
	nodes = slices.Clone(nodes)
	for i := 0; i < len(nodes); i++ { // with the nodes that those are made of, each once
		if n := nodes[i]; n != nil && !slices.Contains(nodes[:i], n) {
			if !c.accept(n, v) {
				return false
			}
			nodes = append(nodes, n.all...)
		}
	}
	return true
}

// accept is accepts for what a node says itself.
func (c *checker) accept(n *node, v any) bool {
	if !c.spend() || !n.allowed[kindOf(v)] || n.listed && !contains(n.values, v) {
		return false
	}
	for _, group := range n.choices {
		if !slices.ContainsFunc(group, func(choice *node) bool { return c.accepts([]*node{choice}, v) }) {
			return false
		}
	}
	switch v := v.(type) {
	case json.Number:
		r, err := ratOf(v)
		return err == nil && n.numbers.holds(r)
	case string:
		return n.text.holds(v)
	case []any:
		if n.unique {
			c.steps += len(v) * len(v) / 8
		}
		for i, item := range v {
			if !c.accepts([]*node{n.items}, item) || n.unique && contains(v[:i], item) {
				return false
			}
		}
		return n.length.holds(uint64(len(v)))
	case map[string]any:
		for _, name := range n.required {
			if _, ok := v[name]; !ok {
				return false
			}
		}
		one := shape{nodes: []*node{n}}
		for name, value := range v {
			if !c.accepts(one.property(name).nodes, value) {
				return false
			}
		}
	}
	return true
}
