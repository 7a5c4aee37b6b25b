package compat

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

// arena holds the nodes of the schemas that are compared.
type arena struct {
	size    int
	formats map[string]*format
}

// loader reads one schema into an arena.
type loader struct {
	*arena
	root *jsonschema.Schema
	defs map[string]*node
	top  *node
}

func (a *arena) load(s *jsonschema.Schema) (*node, error) {
	if s == nil {
		return nil, fmt.Errorf("compat: the schema is nil")
	}
	l := &loader{arena: a, root: s, defs: map[string]*node{}}
	n, err := l.read(s, "", 0)
	if err != nil {
		return nil, err
	}
	return n, l.checkCycles(n)
}

func (l *loader) read(s *jsonschema.Schema, pointer string, depth int) (*node, error) {
	n, err := l.newNode(pointer)
	if err != nil {
		return nil, err
	}
	if pointer == "" {
		l.top = n
	}
	return n, l.fill(n, s, depth)
}

func (l *loader) newNode(pointer string) (*node, error) {
	if l.size++; l.size > maxNodes {
		return nil, fmt.Errorf("compat: %s: the schemas have more than %d subschemas", pointer, maxNodes)
	}
	return &node{
		id: l.size, pointer: pointer, allowed: [kinds]bool{true, true, true, true, true, true},
		text: texts{length: boundsOf(nil, nil)}, length: boundsOf(nil, nil),
	}, nil
}

func (l *loader) fill(n *node, s *jsonschema.Schema, depth int) error {
	if depth > maxDepth {
		return tooDeep(n.pointer)
	}
	if s == nil || reflect.DeepEqual(s, jsonschema.TrueSchema) {
		n.any = true
		return nil
	}
	if reflect.DeepEqual(s, jsonschema.FalseSchema) {
		n.allowed = [kinds]bool{}
		return nil
	}
	for _, step := range []func(*node, *jsonschema.Schema) error{refuse, readType, readValues, readNumbers, l.readText} {
		if err := step(n, s); err != nil {
			return err
		}
	}
	n.any = s.Ref == "" && onlyRef(s)
	n.length, n.unique = boundsOf(s.MinItems, s.MaxItems), s.UniqueItems
	n.required = slices.Compact(slices.Sorted(slices.Values(s.Required)))
	return l.readSubschemas(n, s, depth+1)
}

// refuse looks for keywords outside the subset.
func refuse(n *node, s *jsonschema.Schema) error {
	for _, k := range []struct {
		keyword string
		set     bool
	}{
		{"$dynamicRef", s.DynamicRef != ""}, {"not", s.Not != nil}, {"if", s.If != nil}, {"then", s.Then != nil}, {"else", s.Else != nil},
		{"dependentSchemas", s.DependentSchemas != nil}, {"prefixItems", s.PrefixItems != nil}, {"contains", s.Contains != nil},
		{"propertyNames", s.PropertyNames != nil}, {"maxContains", s.MaxContains != nil}, {"minContains", s.MinContains != nil},
		{"maxProperties", s.MaxProperties != nil}, {"minProperties", s.MinProperties != nil},
		{"dependentRequired", s.DependentRequired != nil}, {"contentMediaType", s.ContentMediaType != ""},
		{"contentSchema", s.ContentSchema != nil},
	} {
		if k.set {
			return unsupported(n.pointer+"/"+k.keyword, k.keyword)
		}
	}
	for _, keyword := range slices.Sorted(maps.Keys(s.Extras)) {
		if !strings.HasPrefix(keyword, "x-") {
			return unsupported(n.pointer+"/"+escape(keyword), keyword)
		}
	}
	if s.ID != "" && n.pointer != "" {
		return fmt.Errorf(`compat: %s/$id: only the whole schema may have an "$id": it changes what "$ref" means`, n.pointer)
	}
	return nil
}

func readType(n *node, s *jsonschema.Schema) error {
	name := s.Type
	switch name {
	case "":
		return nil
	case "integer":
		n.integer, name = true, "number"
	}
	k := slices.Index(kindNames[:], name)
	if k < 0 {
		return fmt.Errorf("compat: %s/type: %q is not a type of JSON Schema", n.pointer, s.Type)
	}
	n.allowed = [kinds]bool{}
	n.allowed[k] = true
	return nil
}

func readValues(n *node, s *jsonschema.Schema) error {
	for _, hint := range append(slices.Clone(s.Examples), s.Default) {
		if v, err := plain(hint); err == nil && hint != nil {
			n.hints = append(n.hints, v)
		}
	}
	if s.Enum != nil {
		n.listed = true
		for i, value := range s.Enum {
			v, err := plain(value)
			if err != nil {
				return fmt.Errorf("compat: %s/enum/%d: %w", n.pointer, i, err)
			}
			n.values = append(n.values, v)
		}
	}
	if s.Const != nil {
		v, err := plain(s.Const)
		if err != nil {
			return fmt.Errorf("compat: %s/const: %w", n.pointer, err)
		}
		if n.listed && !slices.ContainsFunc(n.values, func(other any) bool { return equal(v, other) }) {
			n.values = nil
		} else {
			n.values = []any{v}
		}
		n.listed = true
	}
	return nil
}

func readNumbers(n *node, s *jsonschema.Schema) error {
	limit := func(keyword string, value json.Number, use func(*big.Rat) interval) error {
		if value == "" {
			return nil
		}
		r, err := ratOf(value)
		if err == nil && keyword == "multipleOf" && r.Sign() <= 0 {
			err = fmt.Errorf("%s must be more than 0", value)
		}
		if err != nil {
			return fmt.Errorf("compat: %s/%s: %w", n.pointer, keyword, err)
		}
		n.numbers = n.numbers.and(use(r))
		return nil
	}
	if n.integer {
		n.numbers.step = big.NewRat(1, 1)
	}
	for _, err := range []error{
		limit("minimum", s.Minimum, func(r *big.Rat) interval { return interval{low: r} }),
		limit("exclusiveMinimum", s.ExclusiveMinimum, func(r *big.Rat) interval { return interval{low: r, lowOpen: true} }),
		limit("maximum", s.Maximum, func(r *big.Rat) interval { return interval{high: r} }),
		limit("exclusiveMaximum", s.ExclusiveMaximum, func(r *big.Rat) interval { return interval{high: r, highOpen: true} }),
		limit("multipleOf", s.MultipleOf, func(r *big.Rat) interval { return interval{step: r} }),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) readText(n *node, s *jsonschema.Schema) error {
	n.text.length = boundsOf(s.MinLength, s.MaxLength)
	if s.Pattern != "" {
		re, err := regexp.Compile(s.Pattern)
		if err != nil {
			return fmt.Errorf("compat: %s/pattern: %w", n.pointer, err)
		}
		n.text.patterns = []*regexp.Regexp{re}
	}
	if s.Format != "" {
		f, err := l.format(s.Format)
		if err != nil {
			return fmt.Errorf("compat: %s/format: %w", n.pointer, err)
		}
		n.text.formats = append(n.text.formats, f)
	}
	switch s.ContentEncoding {
	case "":
	case "base64":
		n.text.formats = append(n.text.formats, &format{name: "base64", samples: []string{"aGVsbG8=", "", "YWE="},
			check: func(s string) bool { _, err := base64.StdEncoding.DecodeString(s); return err == nil }})
	default:
		return fmt.Errorf("compat: %s/contentEncoding: %q is not supported: only base64 is", n.pointer, s.ContentEncoding)
	}
	return nil
}

func (l *loader) readSubschemas(n *node, s *jsonschema.Schema, depth int) error {
	var firstErr error
	sub := func(schema *jsonschema.Schema, at string) *node {
		if firstErr != nil {
			return nil
		}
		var child *node
		child, firstErr = l.read(schema, n.pointer+"/"+at, depth)
		return child
	}
	list := func(schemas []*jsonschema.Schema, keyword string) (nodes []*node) {
		for i, schema := range schemas {
			nodes = append(nodes, sub(schema, keyword+"/"+strconv.Itoa(i)))
		}
		return nodes
	}
	if s.Ref != "" {
		target, err := l.resolve(n, s.Ref)
		if err != nil {
			return err
		}
		n.all = append(n.all, target)
		if onlyRef(s) {
			n.alias = target
		}
	}
	n.all = append(n.all, list(s.AllOf, "allOf")...)
	if len(s.AnyOf) > 0 {
		n.choices = append(n.choices, list(s.AnyOf, "anyOf"))
	}
	if len(s.OneOf) > 0 {
		n.ones = append(n.ones, list(s.OneOf, "oneOf"))
		n.choices = append(n.choices, n.ones...)
	}
	if s.Items != nil {
		n.items = sub(s.Items, "items")
	}
	if s.Properties != nil {
		n.props = map[string]*node{}
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			n.names = append(n.names, p.Key)
			n.props[p.Key] = sub(p.Value, "properties/"+escape(p.Key))
		}
	}
	for _, source := range slices.Sorted(maps.Keys(s.PatternProperties)) {
		re, err := regexp.Compile(source)
		if err != nil {
			return fmt.Errorf("compat: %s/patternProperties: %w", n.pointer, err)
		}
		n.patterns = append(n.patterns, patternNode{source, re, sub(s.PatternProperties[source], "patternProperties/"+escape(source))})
	}
	if s.AdditionalProperties != nil {
		n.extra = sub(s.AdditionalProperties, "additionalProperties")
	}
	return firstErr
}

// onlyRef says whether a schema is at most a $ref and words about it.
func onlyRef(s *jsonschema.Schema) bool {
	return reflect.DeepEqual(s, &jsonschema.Schema{
		Ref: s.Ref, Version: s.Version, ID: s.ID, Anchor: s.Anchor, Definitions: s.Definitions, Comments: s.Comments,
		Title: s.Title, Description: s.Description, Deprecated: s.Deprecated, ReadOnly: s.ReadOnly, WriteOnly: s.WriteOnly, Extras: s.Extras,
	})
}

func (l *loader) resolve(n *node, ref string) (*node, error) {
	if ref == "#" {
		return l.top, nil
	}
	name, ok := defName(ref)
	definition := l.root.Definitions[name]
	if !ok || definition == nil {
		return nil, fmt.Errorf("compat: %s/$ref: %q is not in the schema: refer to # or to #/$defs/<name>", n.pointer, ref)
	}
	if target := l.defs[name]; target != nil {
		return target, nil
	}
	target, err := l.newNode("/$defs/" + escape(name))
	if err != nil {
		return nil, err
	}
	l.defs[name] = target
	return target, l.fill(target, definition, 0)
}

// checkCycles refuses a schema that is defined by nothing but itself.
func (l *loader) checkCycles(root *node) error {
	state := map[*node]int{} // 1: being visited, 2: done
	var visit func(*node) error
	visit = func(n *node) error {
		if n == nil || state[n] == 2 {
			return nil
		}
		if state[n] == 1 {
			return fmt.Errorf("compat: %s: the schema refers to itself without a property or an item in between", n.pointer)
		}
		state[n] = 1
		for _, next := range slices.Concat(append([][]*node{n.all}, n.choices...)...) {
			if err := visit(next); err != nil {
				return err
			}
		}
		state[n] = 2
		return nil
	}
	if err := visit(root); err != nil {
		return err
	}
	seen := map[*node]bool{}
	queue := []*node{root}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if n == nil || seen[n] {
			continue
		}
		seen[n] = true
		if err := visit(n); err != nil {
			return err
		}
		queue = append(queue, slices.Concat(append([][]*node{n.all, {n.items, n.extra}, slices.Collect(maps.Values(n.props))}, n.choices...)...)...)
		for _, p := range n.patterns {
			queue = append(queue, p.node)
		}
	}
	return nil
}
