package compat

import (
	"math"
	"regexp"
)

// Guards against schemas that are made to hang the check. Those of Go types are
// far below.
const (
	maxDepth        = 100
	maxNodes        = 10_000
	maxAlternatives = 256
	maxPatterns     = 6
	maxSteps        = 1_000_000
	maxDigits       = 400
)

// kind is a JSON type. An integer is a number.
type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	array
	object
	kinds // how many there are
)

var kindNames = [kinds]string{"null", "boolean", "number", "string", "array", "object"}

// node is one schema, read: its subschemas resolved, its numbers exact.
type node struct {
	id      int
	pointer string
	any     bool  // allows everything
	alias   *node // what is meant, if this is a $ref and nothing else
	allowed [kinds]bool
	integer bool
	listed  bool // whether values counts: enum or const
	values  []any
	numbers interval
	text    texts
	length  bounds // of arrays
	unique  bool
	items   *node // nil: any

	names    []string // of properties, in the order of the schema
	props    map[string]*node
	patterns []patternNode
	extra    *node // additionalProperties; nil: any
	required []string

	all     []*node   // $ref and allOf
	choices [][]*node // anyOf and oneOf
	ones    [][]*node // oneOf only

	hints []any // examples and default: preferred by Example
}

type patternNode struct {
	source  string
	matches *regexp.Regexp
	node    *node
}

// bounds are of a length. A max of math.MaxUint64 is none.
type bounds struct{ min, max uint64 }

func (b bounds) and(c bounds) bounds      { return bounds{max(b.min, c.min), min(b.max, c.max)} }
func (b bounds) holds(length uint64) bool { return b.min <= length && length <= b.max }

func boundsOf(low, high *uint64) bounds {
	b := bounds{0, math.MaxUint64}
	if low != nil {
		b.min = *low
	}
	if high != nil {
		b.max = *high
	}
	return b
}
