package compat

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

// texts is a set of strings: of a length in code points, and matching all
// patterns and formats.
type texts struct {
	length   bounds
	patterns []*regexp.Regexp
	formats  []*format
}

// format is an asserted format, or base64.
type format struct {
	name    string
	check   func(string) bool
	samples []string // the first is the one to show
}

// formatSamples holds the formats that are known, and a few strings of each.
var formatSamples = map[string][]string{
	"date-time": {"2006-01-02T15:04:05Z", "1985-04-12T23:20:50.52Z", "2024-02-29T00:00:00+02:00"},
	"date":      {"2006-01-02", "2024-02-29", "1985-04-12"},
	"time":      {"15:04:05Z", "23:20:50.52Z", "08:00:00+02:00"},
	"duration":  {"PT1H", "P1D", "P1Y2M3DT4H5M6S"},
	"email":     {"ada@example.com", "a@b.c", "grace.hopper@mail.example.org"},
	"hostname":  {"example.com", "a", "mail.example.org"},
	"ipv4":      {"192.0.2.1", "0.0.0.0", "255.255.255.255"},
	"ipv6":      {"2001:db8::1", "::", "::1"},
	"uri":       {"https://example.com/", "a:", "urn:isbn:0451450523"},
	"uuid":      {"123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"},
}

// format returns a known format, whose check is the validator's.
func (a *arena) format(name string) (*format, error) {
	if f := a.formats[name]; f != nil {
		return f, nil
	}
	samples := formatSamples[name]
	if samples == nil {
		return nil, fmt.Errorf("%q is not supported: known are %s", name, strings.Join(slices.Sorted(maps.Keys(formatSamples)), ", "))
	}
	compiler := validator.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("format.json", map[string]any{"format": name}); err != nil {
		return nil, err
	}
	compiled, err := compiler.Compile("format.json")
	if err != nil {
		return nil, err
	}
	f := &format{name: name, samples: samples, check: func(s string) bool { return compiled.Validate(s) == nil }}
	if a.formats == nil {
		a.formats = map[string]*format{}
	}
	a.formats[name] = f
	return f, nil
}

func (t texts) and(u texts) texts {
	t.length = t.length.and(u.length)
	t.patterns, t.formats = slices.Clone(t.patterns), slices.Clone(t.formats)
	for _, p := range u.patterns {
		if !t.hasPattern(p) {
			t.patterns = append(t.patterns, p)
		}
	}
	for _, f := range u.formats {
		if !t.hasFormat(f) {
			t.formats = append(t.formats, f)
		}
	}
	return t
}

func (t texts) hasPattern(p *regexp.Regexp) bool {
	return slices.ContainsFunc(t.patterns, func(q *regexp.Regexp) bool { return q.String() == p.String() })
}

func (t texts) hasFormat(f *format) bool {
	return slices.ContainsFunc(t.formats, func(g *format) bool { return g.name == f.name })
}

func (t texts) holds(s string) bool {
	if !t.length.holds(uint64(utf8.RuneCountInString(s))) {
		return false
	}
	for _, p := range t.patterns {
		if !p.MatchString(s) {
			return false
		}
	}
	for _, f := range t.formats {
		if !f.check(s) {
			return false
		}
	}
	return true
}

// maxText is how long a string may be to be shown.
const maxText = 10_000

// probes are what is tried to find a string with a property.
var probes = []string{"text", "", "a", "A", "0", "-", " ", "é", "other", "1", "00", "abc", "a b", "~", "\n"}

// some returns strings of the set that are easy to find, perhaps none: the
// ones to show first. Those of the given lengths are tried too.
func (t texts) some(lengths ...uint64) []string {
	var tried []string
	for _, f := range t.formats {
		tried = append(tried, f.samples...)
	}
	lengths = append(slices.Clone(lengths), t.length.min)
	for _, p := range t.patterns {
		tried = append(tried, matching(p, lengths)...)
	}
	if len(t.formats) == 0 {
		tried = append(tried, probes...)
		for _, n := range lengths {
			if n <= maxText {
				tried = append(tried, strings.Repeat("a", int(n)))
			}
		}
	}
	var found []string
	for _, s := range tried {
		if t.holds(s) && !slices.Contains(found, s) {
			found = append(found, s)
		}
	}
	return found
}

// distinct returns up to n different strings of the set that are easy to find.
func (t texts) distinct(n int) []string {
	found := t.some()
	if len(t.patterns) == 0 && len(t.formats) == 0 {
		for i := 0; len(found) < n && i < 2*n && t.length.min < maxText; i++ {
			s := strings.Repeat("a", int(t.length.min)) + "b" + strings.Repeat("c", i)
			if t.length.min > 0 { // of the shortest length, for as long as there are letters
				s = strings.Repeat("a", int(t.length.min)-1) + string(rune('b'+i))
			}
			if t.holds(s) && utf8.ValidString(s) && !slices.Contains(found, s) {
				found = append(found, s)
			}
		}
	}
	return found[:min(n, len(found))]
}
