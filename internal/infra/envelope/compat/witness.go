package compat

import (
	"maps"
	"slices"
)

// maxSize is how many values a counterexample may be made of.
const maxSize = 20_000

// maxUnique is how many different values are looked for.
const maxUnique = 500

// witness says whether a place has a value. Where that is not certain (a
// pattern that no string was found for) it exists, but isn't shown.
type witness struct {
	exists bool
	value  any // a smallest one
	shown  bool
	size   int
}

func shown(v any) witness {
	w := witness{exists: true, value: v, size: size(v, maxSize)}
	w.shown = w.size <= maxSize
	return w
}

// better says whether w tells more than v.
func (w witness) better(v witness) bool {
	return w.exists && !v.exists || w.shown && !v.shown
}

// witness returns a smallest value of the place. It is the least fixed point
// over the places that p is made of: a place has a value once the places that
// it needs have one. So a type that requires itself has none.
func (c *checker) witness(p place) witness {
	if w, ok := c.witnesses[p.key]; ok {
		return w
	}
	if c.solving { // asked while looking for many values at once: do without
		return witness{}
	}
	c.solving = true
	defer func() { c.solving = false }()
	var order []place
	pending := []place{p}
	for len(pending) > 0 && c.spend() {
		q := pending[0]
		pending = pending[1:]
		if _, ok := c.witnesses[q.key]; ok {
			continue
		}
		c.witnesses[q.key] = witness{}
		order = append(order, q)
		for _, s := range c.expand(q) {
			pending = append(pending, s.needs()...)
		}
	}
	slices.Reverse(order) // parts mostly come before what is made of them
	for changed := true; changed; {
		changed = false
		for _, q := range order {
			for _, s := range c.expand(q) {
				if !c.spend() {
					return witness{}
				}
				if w := c.shapeWitness(s); w.better(c.witnesses[q.key]) {
					c.witnesses[q.key], changed = w, true
				}
			}
		}
	}
	return c.witnesses[p.key]
}

// needs are the places that every value of the shape is made of.
func (s *shape) needs() (places []place) {
	switch {
	case s.listed:
	case s.kind == array && s.length.min > 0:
		places = append(places, s.items())
	case s.kind == object:
		for _, name := range s.names() {
			if s.requires(name) {
				places = append(places, s.property(name))
			}
		}
	}
	return places
}

// shapeWitness returns a smallest value of the shape, as far as the places it
// needs are known to have one.
func (c *checker) shapeWitness(s *shape) witness {
	switch {
	case s.listed:
		return shown(s.values[0])
	case s.kind == number:
		if some := s.numbers.some(1); len(some) > 0 {
			return shown(numberOf(some[0]))
		}
	case s.kind == text:
		w, ok := c.texts[s]
		if !ok {
			w.exists = true
			if some := s.text.distinct(1); len(some) > 0 {
				w = shown(some[0])
			}
			c.texts[s] = w
		}
		return w
	case s.kind == array:
		return c.arrayWitness(s)
	case s.kind == object:
		value, whole := map[string]any{}, witness{exists: true, shown: true, size: 1}
		for _, name := range s.names() {
			if s.requires(name) {
				w := c.witnesses[s.property(name).key]
				if !w.exists {
					return witness{}
				}
				whole.size += w.size
				whole.shown = whole.shown && w.shown && whole.size <= maxSize
				value[name] = w.value
			}
		}
		whole.value = value
		return whole
	}
	return witness{exists: true}
}

func (c *checker) arrayWitness(s *shape) witness {
	if s.length.min == 0 {
		return shown([]any{})
	}
	item := c.witnesses[s.items().key]
	if !item.exists {
		return witness{}
	}
	if s.unique && s.length.min > 1 {
		if most, ok := c.count(s.items()); ok && most < s.length.min {
			return witness{}
		}
		if s.length.min <= maxUnique {
			if items := c.some(s.items(), int(s.length.min), 3); uint64(len(items)) == s.length.min {
				return shown(items)
			}
		}
		return witness{exists: true}
	}
	if !item.shown || s.length.min > maxSize || int(s.length.min)*item.size > maxSize {
		return witness{exists: true}
	}
	return shown(slices.Repeat([]any{item.value}, int(s.length.min)))
}

// count is how many values a place has at most, if that is plainly finite.
func (c *checker) count(p place) (uint64, bool) {
	var n uint64
	for _, s := range c.expand(p) {
		switch {
		case s.listed:
			n += uint64(len(s.values))
		case s.kind == number && s.numbers.step != nil && s.numbers.low != nil && s.numbers.high != nil:
			found := len(s.numbers.some(1000))
			if found == 1000 {
				return 0, false
			}
			n += uint64(found)
		case s.kind == array && s.length.max == 0, s.kind == text && s.text.length.max == 0:
			n++
		default:
			return 0, false
		}
	}
	return n, true
}

// some returns up to n different values of the place, perhaps fewer than there
// are.
func (c *checker) some(p place, n, depth int) []any {
	var found []any
	for _, s := range c.expand(p) {
		for _, v := range c.someOf(s, n-len(found), depth) {
			if len(found) < n && !contains(found, v) {
				found = append(found, v)
			}
		}
	}
	return found
}

func (c *checker) someOf(s *shape, n, depth int) (found []any) {
	if n <= 0 || depth == 0 || !c.spend() {
		return nil
	}
	switch {
	case s.listed:
		return s.values[:min(n, len(s.values))]
	case s.kind == number:
		for _, r := range s.numbers.some(n) {
			found = append(found, numberOf(r))
		}
		return found
	case s.kind == text:
		for _, t := range s.text.distinct(n) {
			found = append(found, t)
		}
		return found
	}
	for _, needed := range s.needs() {
		if !c.witness(needed).exists {
			return nil
		}
	}
	least := c.shapeWitness(s)
	if !least.shown {
		return nil
	}
	found = append(found, least.value)
	if s.kind == array {
		for _, item := range c.some(s.items(), n, depth-1) {
			if v, ok := c.arrayWith(s, item); ok && !contains(found, v) {
				found = append(found, v)
			}
		}
		return found[:min(n, len(found))]
	}
	for _, name := range append(s.names(), probes...) {
		for _, v := range c.some(s.property(name), n-len(found)+1, depth-1) {
			with := maps.Clone(least.value.(map[string]any))
			with[name] = v
			if len(found) < n && !contains(found, with) {
				found = append(found, with)
			}
		}
	}
	return found
}

// arrayWith returns a small array of the shape that has the item first.
func (c *checker) arrayWith(s *shape, item any) (any, bool) {
	if s.length.max == 0 || s.length.min > maxSize {
		return nil, false
	}
	items := []any{item}
	if s.length.min <= 1 {
		return items, true
	}
	if s.unique {
		if s.length.min > maxUnique {
			return nil, false
		}
		for _, other := range c.some(s.items(), int(s.length.min), 3) {
			if uint64(len(items)) < s.length.min && !contains(items, other) {
				items = append(items, other)
			}
		}
		return items, uint64(len(items)) == s.length.min
	}
	rest := c.witness(s.items())
	for uint64(len(items)) < s.length.min {
		items = append(items, rest.value)
	}
	return items, rest.shown && len(items)*rest.size <= maxSize
}
