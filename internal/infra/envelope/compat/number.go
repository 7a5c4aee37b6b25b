package compat

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// interval is a set of numbers: those from low to high that are multiples of
// step. A nil low, high or step is no limit. An integer is a multiple of 1.
type interval struct {
	low, high         *big.Rat
	lowOpen, highOpen bool // the limit itself is out
	step              *big.Rat
}

// ratOf is the exact value of a JSON number.
func ratOf(n json.Number) (*big.Rat, error) {
	mantissa, exponent, found := strings.Cut(strings.ToLower(string(n)), "e")
	if found {
		if e, err := strconv.Atoi(exponent); err != nil || e > maxDigits || e < -maxDigits {
			return nil, fmt.Errorf("the number %s is too large or too small to compare: use an exponent of at most ±%d", shorten(string(n)), maxDigits)
		}
	}
	if len(mantissa) > maxDigits {
		return nil, fmt.Errorf("the number %s has more than %d digits", shorten(string(n)), maxDigits)
	}
	if r, ok := new(big.Rat).SetString(string(n)); ok && !strings.ContainsAny(string(n), "/_xXpP") {
		return r, nil
	}
	return nil, fmt.Errorf("%q is not a number", shorten(string(n)))
}

func shorten(s string) string {
	if len(s) > 30 {
		return s[:30] + "…"
	}
	return s
}

// numberOf writes r in decimals. Everything computed here has finitely many:
// it comes from decimals by sums, products, halves and least common multiples.
func numberOf(r *big.Rat) json.Number {
	digits, _ := r.FloatPrec()
	return json.Number(r.FloatString(digits))
}

// lcm is the least common multiple of two positive numbers.
func lcm(a, b *big.Rat) *big.Rat {
	gcd := new(big.Int).GCD(nil, nil, a.Num(), b.Num())
	num := new(big.Int).Mul(a.Num(), new(big.Int).Quo(b.Num(), gcd))
	return new(big.Rat).SetFrac(num, new(big.Int).GCD(nil, nil, a.Denom(), b.Denom()))
}

func divides(step, r *big.Rat) bool { return new(big.Rat).Quo(r, step).IsInt() }

// floor is the greatest multiple of step that is not above r.
func floor(r, step *big.Rat) *big.Rat {
	q := new(big.Rat).Quo(r, step)
	whole := new(big.Int).Div(q.Num(), q.Denom()) // rounds down: the divisor is positive
	return q.Mul(new(big.Rat).SetInt(whole), step)
}

// and is the intersection, with its limits moved to the nearest multiples.
func (a interval) and(b interval) interval {
	if b.low != nil {
		if a.low == nil || b.low.Cmp(a.low) > 0 {
			a.low, a.lowOpen = b.low, b.lowOpen
		} else if b.low.Cmp(a.low) == 0 {
			a.lowOpen = a.lowOpen || b.lowOpen
		}
	}
	if b.high != nil {
		if a.high == nil || b.high.Cmp(a.high) < 0 {
			a.high, a.highOpen = b.high, b.highOpen
		} else if b.high.Cmp(a.high) == 0 {
			a.highOpen = a.highOpen || b.highOpen
		}
	}
	if a.step == nil {
		a.step = b.step
	} else if b.step != nil {
		a.step = lcm(a.step, b.step)
	}
	if a.step == nil {
		return a
	}
	if a.low != nil {
		low := floor(a.low, a.step)
		if c := low.Cmp(a.low); c < 0 || a.lowOpen {
			low.Add(low, a.step)
		}
		a.low, a.lowOpen = low, false
	}
	if a.high != nil {
		high := floor(a.high, a.step)
		if high.Cmp(a.high) == 0 && a.highOpen {
			high.Sub(high, a.step)
		}
		a.high, a.highOpen = high, false
	}
	return a
}

func (a interval) holds(r *big.Rat) bool {
	if a.low != nil {
		if c := r.Cmp(a.low); c < 0 || c == 0 && a.lowOpen {
			return false
		}
	}
	if a.high != nil {
		if c := r.Cmp(a.high); c > 0 || c == 0 && a.highOpen {
			return false
		}
	}
	return a.step == nil || divides(a.step, r)
}

func (a interval) empty() bool {
	if a.low == nil || a.high == nil {
		return false
	}
	c := a.low.Cmp(a.high)
	return c > 0 || c == 0 && (a.lowOpen || a.highOpen)
}

// some returns up to n different numbers of the interval, and all of them if
// there are fewer: the simplest first, then neighbours.
func (a interval) some(n int) []*big.Rat {
	if a.empty() {
		return nil
	}
	var found []*big.Rat
	add := func(r *big.Rat) bool {
		if len(found) == n || !a.holds(r) {
			return false
		}
		for _, other := range found {
			if other.Cmp(r) == 0 {
				return true
			}
		}
		found = append(found, r)
		return true
	}
	step := a.step
	if step == nil {
		step = big.NewRat(1, 1)
	}
	start := new(big.Rat)
	switch {
	case a.holds(start):
	case a.low != nil && (a.high == nil || a.low.Sign() > 0):
		start = a.low
	default:
		start = a.high
	}
	add(start)
	for _, direction := range []*big.Rat{step, new(big.Rat).Neg(step)} {
		for r := new(big.Rat).Add(start, direction); len(found) < n && add(r); r = new(big.Rat).Add(r, direction) {
		}
	}
	if a.step == nil && a.low != nil && a.high != nil {
		add(a.low)
		add(a.high)
		half := new(big.Rat).Sub(a.high, a.low)
		for i := 0; len(found) < n && i < 64; i++ {
			half = new(big.Rat).Quo(half, big.NewRat(2, 1))
			add(new(big.Rat).Add(a.low, half))
			add(new(big.Rat).Sub(a.high, half))
		}
	}
	return found
}

// below is the part of a that b's low limit cuts off, above that of its high one.
func (a interval) below(b interval) (interval, bool) {
	if b.low == nil {
		return a, false
	}
	rest := a.and(interval{high: b.low, highOpen: !b.lowOpen})
	return rest, !rest.empty()
}

func (a interval) above(b interval) (interval, bool) {
	if b.high == nil {
		return a, false
	}
	rest := a.and(interval{low: b.high, lowOpen: !b.highOpen})
	return rest, !rest.empty()
}

// offStep finds a number of a, which is not empty, that is not a multiple of step.
func (a interval) offStep(step *big.Rat) (*big.Rat, bool) {
	if step == nil || a.step != nil && divides(step, a.step) {
		return nil, false
	}
	half := new(big.Rat).Quo(step, big.NewRat(2, 1))
	for _, r := range a.some(64) {
		for _, candidate := range []*big.Rat{r, new(big.Rat).Add(r, half), new(big.Rat).Sub(r, half)} {
			if a.holds(candidate) && !divides(step, candidate) {
				return candidate, true
			}
		}
	}
	// A real interval with more than one number always has one: some halves it.
	return nil, a.step == nil && (a.low == nil || a.high == nil || a.low.Cmp(a.high) != 0)
}
