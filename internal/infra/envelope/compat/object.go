package compat

import (
	"fmt"
	"maps"
	"slices"
)

func (c *checker) compareObjects(w, r *shape) (all []*found) {
	least := c.shapeWitness(w)
	with := func(name string, f *found) *found {
		value, _ := least.value.(map[string]any)
		value = maps.Clone(value)
		if value != nil {
			value[name] = f.value
		}
		return f.within(name, true, value, value != nil && least.shown)
	}
	names := w.names()
	for _, name := range r.names() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		wp, rp := w.property(name), r.property(name)
		written := c.witness(wp)
		if r.requires(name) && !(w.requires(name) && written.exists) {
			f := &found{rule: RequiredAdded, say: fmt.Sprintf("{writer} may leave out %q, which {reader} requires", name)}
			if !w.declares(name) {
				f.rule, f.say = PropertyAddedRequired, fmt.Sprintf("{writer} has no %q, which {reader} requires", name)
			}
			all = append(all, &found{&step{name, true, nil}, f.rule, f.say, least.value, least.shown})
		}
		if !written.exists {
			continue
		}
		if !r.declares(name) && len(c.expand(rp)) == 0 {
			all = append(all, with(name, &found{rule: PropertyUnknown, value: written.value, shown: written.shown,
				say: fmt.Sprintf("{writer} may hold %q, which {reader} doesn't know and refuses", name)}))
			continue
		}
		for _, f := range c.compare(wp, rp) {
			all = append(all, with(name, f))
		}
	}
	for _, class := range c.otherNames(w, r, names) {
		written := c.witness(class.writer)
		if !written.exists {
			continue
		}
		var inside []*found
		if len(c.expand(class.reader)) == 0 {
			inside = []*found{{rule: PropertyUnknown, value: written.value, shown: written.shown,
				say: "{writer} may hold properties that {reader} doesn't know and refuses"}}
		} else {
			inside = c.compare(class.writer, class.reader)
		}
		for _, f := range inside {
			g := with(class.name, f)
			g.shown = g.shown && class.real
			all = append(all, g)
		}
	}
	return all
}

// nameClass are the names of properties that no schema lists and that match the
// same patterns: name is one of them if it is real.
type nameClass struct {
	name           string
	real           bool
	writer, reader place
}

func (c *checker) otherNames(w, r *shape, listed []string) (classes []nameClass) {
	var patterns []patternNode
	for _, n := range slices.Concat(w.nodes, r.nodes) {
		for _, p := range n.patterns {
			if !slices.ContainsFunc(patterns, func(q patternNode) bool { return q.source == p.source }) {
				patterns = append(patterns, p)
			}
		}
	}
	if len(patterns) > maxPatterns {
		c.fail("%s/patternProperties: more than %d patterns at one place: use fewer", patterns[maxPatterns].node.pointer, maxPatterns)
		return nil
	}
	candidates := slices.Clone(probes)
	candidates = append(candidates, "another", "text2")
	for _, p := range patterns {
		candidates = append(candidates, matching(p.matches, []uint64{1})...)
	}
	for set := range 1 << len(patterns) {
		in := func(p patternNode) bool {
			i := slices.IndexFunc(patterns, func(q patternNode) bool { return q.source == p.source })
			return set&(1<<i) != 0
		}
		none := func(*node) *node { return nil }
		class := nameClass{name: "*", writer: w.other(none, in), reader: r.other(none, in)}
		for _, name := range candidates {
			if !slices.Contains(listed, name) && !slices.ContainsFunc(patterns, func(p patternNode) bool { return p.matches.MatchString(name) != in(p) }) {
				class.name, class.real = name, true
				break
			}
		}
		classes = append(classes, class)
	}
	return classes
}
