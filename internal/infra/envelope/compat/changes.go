package compat

import (
	"fmt"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
)

// Change is what is different between two versions of a schema, told to people.
type Change struct {
	// Field is the path of the field, such as items[].sku; empty at the top. Of
	// a renamed one it is the old path.
	Field string `json:"field,omitempty"`
	// Kind is added, removed, renamed or changed.
	Kind string `json:"kind"`
	// Text says it all: `new optional field "gift_note"`.
	Text string `json:"text"`
}

func (c Change) String() string { return c.Text }

// Changes lists what changed from the old schema to the next, in the order of
// the fields. A removed and an added field that allow the same values are told
// as one, with a question mark: perhaps it was renamed. What only describes
// (title, description, examples, ...) is left out.
func Changes(old, next *jsonschema.Schema) ([]Change, error) {
	c := newChecker()
	o, err := c.read(old)
	if err != nil {
		return nil, fmt.Errorf("the old schema: %w", err)
	}
	n, err := c.read(next)
	if err != nil {
		return nil, fmt.Errorf("the next schema: %w", err)
	}
	d := differ{checker: c, seen: map[[2]string]bool{}}
	d.places("", o, n)
	if c.err != nil {
		return nil, c.err
	}
	return d.changes, nil
}

type differ struct {
	*checker
	seen    map[[2]string]bool
	changes []Change
}

func (d *differ) tell(kind, field, format string, args ...any) {
	d.changes = append(d.changes, Change{field, kind, fmt.Sprintf(format, args...)})
}

// changed tells of a change within a field.
func (d *differ) changed(field, format string, args ...any) {
	subject := "the value"
	if field != "" {
		subject = fmt.Sprintf("field %q", field)
	}
	d.tell("changed", field, "%s: %s", subject, fmt.Sprintf(format, args...))
}

// places compares two places. Each pair is told once, where it is met first.
func (d *differ) places(field string, old, next place) {
	key := [2]string{old.key, next.key}
	if d.seen[key] || !d.spend() {
		return
	}
	d.seen[key] = true
	olds, nexts := d.expand(old), d.expand(next)
	if was, is := typesOf(olds), typesOf(nexts); was != is {
		if len(old.nodes) == 0 {
			was = "any value"
		}
		if len(next.nodes) == 0 {
			is = "any value"
		}
		d.changed(field, "%s became %s", was, is)
	}
	for k := range kinds {
		a, b := ofKind(olds, k), ofKind(nexts, k)
		switch {
		case len(a) == 1 && len(b) == 1:
			d.oneShape(field, a[0], b[0])
		case len(a) > 0 && len(b) > 0 && !(d.same(old, next)):
			d.changed(field, "its alternatives changed")
			return
		}
	}
}

func ofKind(shapes []*shape, k kind) []*shape {
	return slices.DeleteFunc(slices.Clone(shapes), func(s *shape) bool { return s.kind != k })
}

// same says whether two places allow the same values.
func (d *differ) same(a, b place) bool {
	return len(d.compare(a, b)) == 0 && len(d.compare(b, a)) == 0
}

func (d *differ) oneShape(field string, old, next *shape) {
	d.values(field, old, next)
	if old.listed || next.listed {
		return
	}
	switch old.kind {
	case number:
		if was, is := old.numbers.words(), next.numbers.words(); was != is && old.integer() == next.integer() {
			d.changed(field, "%s became %s", was, is)
		}
	case text:
		d.lengths(field, "length", old.text.length, next.text.length)
		d.words(field, "pattern", patternsOf(old.text), patternsOf(next.text))
		d.words(field, "format", formatsOf(old.text), formatsOf(next.text))
	case array:
		d.lengths(field, "number of items", old.length, next.length)
		switch {
		case next.unique && !old.unique:
			d.changed(field, "each item once now")
		case old.unique && !next.unique:
			d.changed(field, "items may repeat now")
		}
		d.places(field+"[]", old.items(), next.items())
	case object:
		d.objects(field, old, next)
	}
}

func (d *differ) values(field string, old, next *shape) {
	switch {
	case old.listed && next.listed:
		added := slices.DeleteFunc(slices.Clone(next.values), func(v any) bool { return contains(old.values, v) })
		removed := slices.DeleteFunc(slices.Clone(old.values), func(v any) bool { return contains(next.values, v) })
		if len(added) > 0 {
			d.changed(field, "enum values added: %s", list(added))
		}
		if len(removed) > 0 {
			d.changed(field, "enum values removed: %s", list(removed))
		}
	case next.listed:
		d.changed(field, "only these values now: %s", list(next.values))
	case old.listed:
		d.changed(field, "no longer only these values: %s", list(old.values))
	}
}

func (d *differ) lengths(field, of string, old, next bounds) {
	if old != next {
		d.changed(field, "%s %s became %s", of, old, next)
	}
}

func (d *differ) words(field, name, was, is string) {
	switch {
	case was == is:
	case was == "":
		d.changed(field, "new %s %s", name, is)
	case is == "":
		d.changed(field, "%s %s dropped", name, was)
	default:
		d.changed(field, "%s %s became %s", name, was, is)
	}
}

func patternsOf(t texts) string {
	var words []string
	for _, p := range t.patterns {
		words = append(words, p.String())
	}
	slices.Sort(words)
	return strings.Join(words, " and ")
}

func formatsOf(t texts) string {
	var words []string
	for _, f := range t.formats {
		words = append(words, f.name)
	}
	slices.Sort(words)
	return strings.Join(words, " and ")
}

func (d *differ) objects(field string, old, next *shape) {
	path := func(name string) string { return strings.TrimPrefix(field+"."+name, ".") }
	olds, nexts := declared(old), declared(next)
	removed := slices.DeleteFunc(slices.Clone(olds), func(name string) bool { return slices.Contains(nexts, name) })
	added := slices.DeleteFunc(slices.Clone(nexts), func(name string) bool { return slices.Contains(olds, name) })
	for _, name := range olds {
		if !slices.Contains(nexts, name) {
			if now := d.renamed(old, next, name, removed, added); now != "" {
				d.tell("renamed", path(name), "field %q removed and %q added: renamed?", path(name), path(now))
				added = slices.DeleteFunc(added, func(other string) bool { return other == now })
			} else {
				d.tell("removed", path(name), "field %q removed", path(name))
			}
			continue
		}
		if was, is := old.requires(name), next.requires(name); was != is {
			d.tell("changed", path(name), "field %q is now %s", path(name), map[bool]string{true: "required", false: "optional"}[is])
		}
		d.places(path(name), old.property(name), next.property(name))
	}
	for _, name := range added {
		d.tell("added", path(name), "new %s field %q", map[bool]string{true: "required", false: "optional"}[next.requires(name)], path(name))
	}
	for _, class := range d.otherNames(old, next, slices.Concat(olds, nexts)) {
		was, is := len(d.expand(class.writer)) > 0, len(d.expand(class.reader)) > 0
		switch {
		case was && !is:
			d.changed(field, "other properties are refused now")
		case !was && is:
			d.changed(field, "other properties are allowed now")
		default:
			d.places(path("*"), class.writer, class.reader)
		}
	}
}

func declared(s *shape) []string {
	return slices.DeleteFunc(s.names(), func(name string) bool { return !s.declares(name) })
}

// renamed returns the one added field that allows the same values as the
// removed one, if it is the only one and the removed one is too.
func (d *differ) renamed(old, next *shape, name string, removed, added []string) string {
	alike := slices.DeleteFunc(slices.Clone(added), func(now string) bool {
		return old.requires(name) != next.requires(now) || !d.same(old.property(name), next.property(now))
	})
	if len(alike) != 1 {
		return ""
	}
	for _, other := range removed {
		if other != name && old.requires(other) == next.requires(alike[0]) && d.same(old.property(other), next.property(alike[0])) {
			return ""
		}
	}
	return alike[0]
}
