package compat

import (
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// matching returns strings that a pattern matches, made from the pattern
// itself. The same pattern gives the same strings.
func matching(p *regexp.Regexp, lengths []uint64) []string {
	parsed, err := syntax.Parse(p.String(), syntax.Perl)
	if err != nil {
		return nil
	}
	var found []string
	for round := range 40 {
		g := &generator{random: rand.New(rand.NewPCG(uint64(round), 1)), plain: round == 0, left: 300}
		for _, n := range lengths {
			if round%4 == 1 && n <= 1000 {
				g.repeat = append(g.repeat, int(n))
			}
		}
		var out strings.Builder
		g.write(&out, parsed)
		s := out.String()
		found = append(found, s)
		for _, n := range lengths { // a pattern without an end allows more
			if missing := int64(n) - int64(utf8.RuneCountInString(s)); missing > 0 && missing <= maxText && round < 4 {
				found = append(found, s+strings.Repeat("a", int(missing)))
			}
		}
	}
	valid := found[:0]
	for _, s := range found {
		if utf8.ValidString(s) && p.MatchString(s) && !slices.Contains(valid, s) {
			valid = append(valid, s)
		}
	}
	return valid
}

// generator writes a string that a pattern matches, as far as it can.
type generator struct {
	random *rand.Rand
	plain  bool // the first choice everywhere
	repeat []int
	left   int // how many repetitions may still be written
}

func (g *generator) choose(n int) int {
	if g.plain {
		return 0
	}
	return g.random.IntN(n)
}

func (g *generator) write(out *strings.Builder, re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		out.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		if len(re.Rune) > 0 {
			i := 2 * g.choose(len(re.Rune)/2)
			low, high := re.Rune[i], re.Rune[i+1]
			out.WriteRune(low + rune(g.choose(int(min(high-low, 25))+1)))
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		out.WriteString("a")
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			g.write(out, sub)
		}
	case syntax.OpAlternate:
		g.write(out, re.Sub[g.choose(len(re.Sub))])
	case syntax.OpStar:
		g.times(out, re.Sub[0], 0, -1)
	case syntax.OpPlus:
		g.times(out, re.Sub[0], 1, -1)
	case syntax.OpQuest:
		g.times(out, re.Sub[0], 0, 1)
	case syntax.OpRepeat:
		g.times(out, re.Sub[0], re.Min, re.Max)
	}
}

func (g *generator) times(out *strings.Builder, re *syntax.Regexp, low, high int) {
	n := low
	switch {
	case len(g.repeat) > 0 && high < 0:
		n = max(low, g.repeat[g.choose(len(g.repeat))])
	case high < 0:
		n = low + g.choose(4)
	case high > low:
		n = low + g.choose(high-low+1)
	}
	for ; n > 0 && g.left > 0; n-- {
		g.left--
		g.write(out, re)
	}
}
