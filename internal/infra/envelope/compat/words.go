package compat

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// String reads "from 1 to 10", "more than 0", "multiples of 5 from 5".
func (a interval) String() string {
	var parts []string
	if a.step != nil && a.step.Num().IsInt64() && !(a.step.IsInt() && a.step.Num().Int64() == 1) {
		parts = append(parts, "multiples of "+string(numberOf(a.step)))
	}
	if a.low != nil {
		parts = append(parts, map[bool]string{false: "from ", true: "more than "}[a.lowOpen]+string(numberOf(a.low)))
	}
	if a.high != nil {
		parts = append(parts, map[bool]string{false: "to ", true: "less than "}[a.highOpen]+string(numberOf(a.high)))
	}
	return strings.Join(parts, " ")
}

func (a interval) multiple() string { return "a multiple of " + string(numberOf(a.step)) }

func (a interval) words() string {
	if s := a.String(); s != "" {
		return s
	}
	return "any number"
}

// String reads "1 to 5", "1 or more", "at most 5", "any".
func (b bounds) String() string {
	switch {
	case b.min == 0 && b.max == math.MaxUint64:
		return "any"
	case b.max == math.MaxUint64:
		return fmt.Sprintf("%d or more", b.min)
	case b.min == 0:
		return fmt.Sprintf("at most %d", b.max)
	}
	return fmt.Sprintf("%d to %d", b.min, b.max)
}

// list writes a few values, and how many more there are.
func list(values []any) string {
	var words []string
	for i, v := range values {
		if i == 5 {
			words = append(words, strconv.Itoa(len(values)-i)+" more")
			break
		}
		data, _ := json.Marshal(v)
		words = append(words, shorten(string(data)))
	}
	return strings.Join(words, ", ")
}
