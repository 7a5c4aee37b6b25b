package compat

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxDifferences is how many are told of one place and what is in it.
const maxDifferences = 100

// found is a difference at a place: the steps from there to where it is, and a
// whole value of that place which shows it.
type found struct {
	path  *step
	rule  Rule
	say   string // with {writer} and {reader}
	value any
	shown bool
}

// step is one of a path, and the rest of it.
type step struct {
	token    string
	property bool
	rest     *step
}

func (f *found) within(token string, property bool, value any, shown bool) *found {
	return &found{&step{token, property, f.path}, f.rule, f.say, value, shown && f.shown && size(value, maxSize) <= maxSize}
}

// compare looks for values of w that r doesn't allow. A pair of places that is
// met again inside itself is taken to be fine there: a smallest value that shows
// a difference doesn't repeat it. What was found fine on that ground is
// forgotten if the pair turns out not to be.
func (c *checker) compare(w, r place) []*found {
	key := [2]string{w.key, r.key}
	known, ok := c.compared[key]
	if ok || !c.spend() {
		if _, open := c.assumed[key]; open {
			c.assumed[key] = true
		}
		return known
	}
	c.compared[key], c.assumed[key] = nil, false
	before := len(c.trail)
	all := c.comparePlaces(w, r)
	all = all[:min(len(all), maxDifferences)]
	if len(all) > 0 && c.assumed[key] {
		for _, inner := range c.trail[before:] {
			if len(c.compared[inner]) == 0 {
				delete(c.compared, inner)
			}
		}
	}
	c.compared[key] = all
	c.trail = append(c.trail, key)
	delete(c.assumed, key)
	return all
}

func (c *checker) comparePlaces(w, r place) []*found {
	var all []*found
	var refused, allowed []*shape
	if !c.witness(w).exists {
		return nil
	}
	readers := c.expand(r)
	for _, s := range c.expand(w) {
		for _, needed := range s.needs() {
			c.witness(needed)
		}
		if !c.shapeWitness(s).exists {
			continue
		}
		same := slices.DeleteFunc(slices.Clone(readers), func(other *shape) bool { return other.kind != s.kind })
		if len(same) == 0 {
			refused = append(refused, s)
			continue
		}
		allowed = append(allowed, s)
		all = append(all, c.compareShape(s, same, r)...)
	}
	if len(refused) > 0 {
		all = append([]*found{c.otherType(refused, len(allowed) == 0, readers)}, all...)
	}
	return all
}

func (c *checker) otherType(refused []*shape, all bool, readers []*shape) *found {
	f := &found{rule: TypeNarrowed}
	if all {
		f.rule = TypeChanged
	}
	for _, s := range refused {
		if w := c.shapeWitness(s); w.shown && !f.shown {
			f.value, f.shown = w.value, true
		}
	}
	f.say = fmt.Sprintf("{writer} may hold %s here, {reader} takes %s", a(typesOf(refused)), a(typesOf(readers)))
	return f
}

// typesOf names the types of shapes, each once.
func typesOf(shapes []*shape) string {
	var names []string
	for _, s := range shapes {
		if name := s.kindName(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " or ")
}

// a puts the article before a word.
func a(word string) string {
	switch {
	case word == "nothing" || strings.HasPrefix(word, "null"):
		return word
	case strings.ContainsRune("aeiou", rune(word[0])):
		return "an " + word
	}
	return "a " + word
}

// compareShape compares a shape of the writer with those of the reader of the
// same type: it has to fit into one of them.
func (c *checker) compareShape(w *shape, readers []*shape, r place) []*found {
	if w.listed {
		return c.compareValues(w, w.values, r)
	}
	var lists [][]*found
	for _, reader := range readers {
		if w.kind == number && reader.listed {
			if most := uint64(len(reader.values)); w.numbers.low != nil && w.numbers.high != nil && w.numbers.step != nil && uint64(len(w.numbers.some(int(most)+1))) <= most {
				return c.compareValues(w, c.someOf(w, int(most)+1, 1), r)
			}
		}
		differences := c.compareWith(w, reader)
		if len(differences) == 0 {
			return nil
		}
		lists = append(lists, differences)
	}
	if len(lists) == 1 {
		return lists[0]
	}
	// It fits into none of several. What shows that is what none of them allows.
	slices.SortStableFunc(lists, func(a, b []*found) int { return len(a) - len(b) })
	for _, differences := range lists {
		differences = slices.DeleteFunc(slices.Clone(differences), func(f *found) bool { return !f.shown || c.accepts(r.nodes, f.value) })
		if len(differences) > 0 {
			return differences
		}
	}
	return []*found{{rule: AlternativesNarrowed, say: fmt.Sprintf("{writer} may hold %s here that fits into none of the alternatives of {reader}", a(w.kindName()))}}
}

func (c *checker) compareValues(w *shape, values []any, r place) []*found {
	var refused []any
	for _, v := range values {
		if !c.accepts(r.nodes, v) {
			refused = append(refused, v)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return []*found{{rule: EnumNarrowed, say: fmt.Sprintf("{writer} may hold %s here, which {reader} doesn't allow", list(refused)), value: refused[0], shown: true}}
}

func (c *checker) compareWith(w, r *shape) []*found {
	switch {
	case r.listed:
		f := &found{rule: EnumNarrowed, say: fmt.Sprintf("{writer} may hold any %s here, {reader} allows only %s", w.kindName(), list(r.values))}
		for _, v := range c.someOf(w, min(len(r.values), 200)+1, 3) {
			if !contains(r.values, v) {
				f.value, f.shown = v, true
				break
			}
		}
		return []*found{f}
	case w.kind == number:
		return compareNumbers(w, r)
	case w.kind == text:
		return compareTexts(w.text, r.text)
	case w.kind == array:
		return c.compareArrays(w, r)
	case w.kind == object:
		return c.compareObjects(w, r)
	}
	return nil
}

func compareNumbers(w, r *shape) (all []*found) {
	tell := func(rule Rule, rest interval, format string, args ...any) {
		f := &found{rule: rule, say: fmt.Sprintf(format, args...)}
		if some := rest.some(1); len(some) > 0 {
			f.value, f.shown = numberOf(some[0]), true
		}
		all = append(all, f)
	}
	if rest, ok := w.numbers.below(r.numbers); ok {
		tell(BoundTightened, rest, "{writer} may hold a number below what {reader} allows: %s", r.numbers)
	}
	if rest, ok := w.numbers.above(r.numbers); ok {
		tell(BoundTightened, rest, "{writer} may hold a number above what {reader} allows: %s", r.numbers)
	}
	off, ok := w.numbers.offStep(r.numbers.step)
	if !ok {
		return all
	}
	f := &found{rule: MultipleChanged, say: "{writer} may hold a number here that isn't " + r.numbers.multiple() + ", as {reader} wants it"}
	if r.integer() && !w.integer() {
		f.rule, f.say = TypeNarrowed, "{writer} may hold a number here that isn't an integer, as {reader} wants it"
	}
	if off != nil {
		f.value, f.shown = numberOf(off), true
	}
	return append(all, f)
}

func compareTexts(w, r texts) (all []*found) {
	tell := func(rule Rule, refused texts, lengths []uint64, format string, args ...any) {
		f := &found{rule: rule, say: fmt.Sprintf(format, args...)}
		for _, s := range w.some(lengths...) {
			if !refused.holds(s) {
				f.value, f.shown = s, true
				break
			}
		}
		all = append(all, f)
	}
	some := texts{length: boundsOf(nil, nil)}
	if w.length.min < r.length.min {
		some.length.min = r.length.min
		tell(BoundTightened, some, []uint64{r.length.min - 1}, "{writer} may hold a string here that is shorter than the %d characters which {reader} wants", r.length.min)
	}
	some.length = bounds{0, r.length.max}
	if w.length.max > r.length.max {
		tell(BoundTightened, some, []uint64{r.length.max + 1}, "{writer} may hold a string here that is longer than the %d characters which {reader} allows", r.length.max)
	}
	some.length = boundsOf(nil, nil)
	for _, p := range r.patterns {
		if !w.hasPattern(p) {
			some := texts{length: some.length, patterns: []*regexp.Regexp{p}}
			tell(PatternChanged, some, nil, "{writer} may hold a string here that doesn't match the pattern %s of {reader}", p)
		}
	}
	for _, f := range r.formats {
		if !w.hasFormat(f) {
			some := texts{length: some.length, formats: []*format{f}}
			tell(FormatChanged, some, nil, "{writer} may hold a string here that is not of the format %s, as {reader} wants it", f.name)
		}
	}
	return all
}

func (c *checker) compareArrays(w, r *shape) (all []*found) {
	wi, ri := w.items(), r.items()
	items := c.witness(wi)
	most := w.length.max
	if !items.exists {
		most = 0
	}
	if n, ok := c.count(wi); ok && w.unique {
		most = min(most, n)
	}
	tell := func(rule Rule, length uint64, twins bool, format string, args ...any) {
		f := &found{rule: rule, say: fmt.Sprintf(format, args...)}
		f.value, f.shown = c.arrayOf(w, items, length, twins)
		all = append(all, f)
	}
	if w.length.min < r.length.min {
		tell(BoundTightened, w.length.min, false, "{writer} may hold fewer than the %d items which {reader} wants", r.length.min)
	}
	if most > r.length.max {
		tell(BoundTightened, max(w.length.min, r.length.max+1), false, "{writer} may hold more than the %d items which {reader} allows", r.length.max)
	}
	if r.unique && !w.unique && most > 1 {
		tell(UniqueAdded, max(w.length.min, 2), true, "{writer} may hold an item twice, {reader} wants each once")
	}
	if most > 0 {
		for _, f := range c.compare(wi, ri) {
			value, ok := c.arrayWith(w, f.value)
			all = append(all, f.within("0", false, value, ok))
		}
	}
	return all
}

// arrayOf returns an array of the shape with so many items.
func (c *checker) arrayOf(w *shape, item witness, length uint64, twins bool) (any, bool) {
	if length == 0 {
		return []any{}, true
	}
	if !item.shown {
		return nil, false
	}
	exactly := *w
	exactly.length = bounds{length, length}
	if w.unique && length > 1 {
		found := c.arrayWitness(&exactly)
		return found.value, found.shown
	}
	return c.arrayWith(&exactly, item.value)
}
