package compat

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/invopop/jsonschema"
)

// place is a set of schemas that a value has to meet all at once. Of none of
// them: any value.
type place struct {
	key   string // the same for the same set
	nodes []*node
}

func placeOf(nodes ...*node) place {
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n == nil })
	for i := range nodes {
		for nodes[i].alias != nil {
			nodes[i] = nodes[i].alias
		}
	}
	nodes = slices.DeleteFunc(nodes, func(n *node) bool { return n.any })
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.id, b.id) })
	nodes = slices.Compact(nodes)
	var key []byte
	for _, n := range nodes {
		key = binary.AppendUvarint(key, uint64(n.id))
	}
	return place{string(key), nodes}
}

// shape is one alternative of a place: values of one JSON type.
type shape struct {
	kind    kind
	nodes   []*node // all that apply, without alternatives left to choose
	listed  bool    // whether it is just values
	values  []any
	numbers interval
	text    texts
	length  bounds
	unique  bool
}

// checker compares schemas. Its first error is final: what it returns after
// that means nothing.
type checker struct {
	arena
	err     error
	steps   int
	solving bool // within witness

	shapes    map[string][]*shape
	witnesses map[string]witness
	texts     map[*shape]witness
	compared  map[[2]string][]*found
	assumed   map[[2]string]bool // pairs being compared: whether that was relied on
	trail     [][2]string        // pairs compared, in order
}

func newChecker() *checker {
	return &checker{
		shapes: map[string][]*shape{}, witnesses: map[string]witness{}, texts: map[*shape]witness{},
		compared: map[[2]string][]*found{}, assumed: map[[2]string]bool{},
	}
}

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("compat: "+format, args...)
	}
}

// spend says whether to go on.
func (c *checker) spend() bool {
	if c.steps++; c.steps > maxSteps {
		c.fail("the schemas are too intertwined to compare: use fewer alternatives")
	}
	return c.err == nil
}

// read loads a schema and makes sure that its alternatives can be told apart.
func (c *checker) read(s *jsonschema.Schema) (place, error) {
	root, err := c.load(s)
	if err != nil {
		return place{}, err
	}
	seen := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		for _, group := range n.ones {
			for i, a := range group {
				for j := range i {
					if c.witness(placeOf(a, group[j])).exists {
						c.fail(`%s/oneOf: the alternatives %d and %d are not told apart by their types or by a "const": use anyOf`, n.pointer, j, i)
					}
				}
			}
		}
		for _, next := range n.children() {
			visit(next)
		}
	}
	visit(root)
	return placeOf(root), c.err
}

// children are the subschemas of n, in a fixed order.
func (n *node) children() []*node {
	nodes := slices.Clone(n.all)
	for _, group := range n.choices {
		nodes = append(nodes, group...)
	}
	for _, name := range n.names {
		nodes = append(nodes, n.props[name])
	}
	for _, p := range n.patterns {
		nodes = append(nodes, p.node)
	}
	return append(nodes, n.items, n.extra)
}

// expand returns the alternatives of a place. Together they hold exactly the
// values of the place, and some may hold none.
func (c *checker) expand(p place) []*shape {
	if shapes, ok := c.shapes[p.key]; ok {
		return shapes
	}
	var shapes []*shape
	for _, nodes := range c.alternatives(nil, p.nodes, nil) {
		for k := range kinds {
			if s := c.newShape(k, nodes); s != nil {
				shapes = append(shapes, s)
			}
		}
	}
	c.shapes[p.key] = shapes
	return shapes
}

// alternatives chooses one schema of each anyOf and oneOf, in every way.
func (c *checker) alternatives(chosen, pending []*node, groups [][]*node) (all [][]*node) {
	chosen, pending, groups = slices.Clone(chosen), slices.Clone(pending), slices.Clone(groups)
	for len(pending) > 0 && c.spend() {
		n := pending[0]
		pending = pending[1:]
		if slices.Contains(chosen, n) {
			continue
		}
		chosen = append(chosen, n)
		pending = append(pending, n.all...)
		groups = append(groups, n.choices...)
	}
	if !c.spend() {
		return nil
	}
	if len(groups) == 0 {
		return [][]*node{chosen}
	}
	for _, n := range groups[0] {
		all = append(all, c.alternatives(chosen, []*node{n}, groups[1:])...)
		if len(all) > maxAlternatives {
			c.fail("%s: more than %d combinations of alternatives: use fewer", n.pointer, maxAlternatives)
			return nil
		}
	}
	return all
}

// newShape returns nil if there is plainly no value.
func (c *checker) newShape(k kind, nodes []*node) *shape {
	s := &shape{kind: k, nodes: nodes, text: texts{length: boundsOf(nil, nil)}, length: boundsOf(nil, nil)}
	for _, n := range nodes {
		if !n.allowed[k] {
			return nil
		}
		if n.listed && !s.listed {
			s.listed, s.values = true, n.values
		}
		s.numbers = s.numbers.and(n.numbers)
		s.text = s.text.and(n.text)
		s.length = s.length.and(n.length)
		s.unique = s.unique || n.unique
	}
	switch {
	case s.listed:
	case k == null:
		s.listed, s.values = true, []any{nil}
	case k == boolean:
		s.listed, s.values = true, []any{false, true}
	}
	if s.listed {
		s.values = slices.DeleteFunc(slices.Clone(s.values), func(v any) bool { return kindOf(v) != k || !c.accepts(nodes, v) })
	}
	if s.listed && len(s.values) == 0 || k == number && s.numbers.empty() ||
		k == text && s.text.length.min > s.text.length.max || k == array && s.length.min > s.length.max {
		return nil
	}
	return s
}

// integer says whether only integers are in a shape of numbers.
func (s *shape) integer() bool {
	return slices.ContainsFunc(s.nodes, func(n *node) bool { return n.integer })
}

func (s *shape) kindName() string {
	if s.kind == number && s.integer() {
		return "integer"
	}
	return kindNames[s.kind]
}

// items is what each item of an array has to meet.
func (s *shape) items() place {
	var nodes []*node
	for _, n := range s.nodes {
		nodes = append(nodes, n.items)
	}
	return placeOf(nodes...)
}

// names are the properties that the shape speaks of, in the order of the schema.
func (s *shape) names() (names []string) {
	for _, n := range s.nodes {
		for _, name := range slices.Concat(n.names, n.required) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func (s *shape) requires(name string) bool {
	return slices.ContainsFunc(s.nodes, func(n *node) bool { return slices.Contains(n.required, name) })
}

// declares says whether the schema lists the property.
func (s *shape) declares(name string) bool {
	return slices.ContainsFunc(s.nodes, func(n *node) bool { return n.props[name] != nil })
}

// property is what the value of the named property has to meet.
func (s *shape) property(name string) place {
	return s.other(func(n *node) *node { return n.props[name] }, func(p patternNode) bool { return p.matches.MatchString(name) })
}

// other is what the value of a property has to meet that is declared and
// matches patterns as given.
func (s *shape) other(declared func(*node) *node, matches func(patternNode) bool) place {
	var nodes []*node
	for _, n := range s.nodes {
		known := declared(n)
		nodes = append(nodes, known)
		for _, p := range n.patterns {
			if matches(p) {
				known = p.node
				nodes = append(nodes, known)
			}
		}
		if known == nil {
			nodes = append(nodes, n.extra)
		}
	}
	return placeOf(nodes...)
}
