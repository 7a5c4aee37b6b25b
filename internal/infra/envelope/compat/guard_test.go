package compat_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope/compat"
)

// Schemas that are small and mean a lot get an answer or an error, and never
// hang.
func TestGuards(t *testing.T) {
	t.Parallel()
	// chain makes n definitions, each with the next one in it.
	chain := func(n int, link, end string) string {
		var defs []string
		for i := range n {
			defs = append(defs, fmt.Sprintf(`"d%d":%s`, i, strings.ReplaceAll(link, "NEXT", fmt.Sprintf(`{"$ref":"#/$defs/d%d"}`, i+1))))
		}
		defs = append(defs, fmt.Sprintf(`"d%d":%s`, n, end))
		return `{"$ref":"#/$defs/d0","$defs":{` + strings.Join(defs, ",") + `}}`
	}
	both := `{"type":"object","properties":{"a":NEXT,"b":NEXT},"required":["a","b"]}`
	for name, test := range map[string]struct {
		writer, reader string
		rule, err      string // either, or none
	}{
		"two of the next, equal":       {chain(60, both, `{"type":"string"}`), chain(60, both, `{"type":"string"}`), "", ""},
		"two of the next, not shown":   {chain(60, both, `{"type":"string"}`), chain(60, both, `{"type":"null"}`), "type-changed", ""},
		"a long chain":                 {chain(1500, `{"type":"object","properties":{"a":NEXT}}`, `{"type":"string"}`), chain(1500, `{"type":"object","properties":{"a":NEXT}}`, `{"type":"null"}`), "type-changed", ""},
		"allOf of the same":            {chain(60, `{"allOf":[NEXT,NEXT]}`, `{"type":"string"}`), `{"type":"string"}`, "", ""},
		"alternatives of alternatives": {chain(60, `{"anyOf":[NEXT,NEXT]}`, `{"type":"string"}`), `{"type":"string"}`, "", "more than 256 combinations"},
		"many combinations":            {`{"allOf":[` + strings.TrimSuffix(strings.Repeat(`{"anyOf":[{"minLength":1},{"maxLength":2}]},`, 20), ",") + `]}`, `{}`, "", "more than 256 combinations"},
		"many subschemas":              {`{"allOf":[` + strings.TrimSuffix(strings.Repeat(`{},`, 20000), ",") + `]}`, `{}`, "", "more than 10000 subschemas"},
		"many items":                   {`{"type":"array","minItems":4000000000}`, `{"type":"array","maxItems":3}`, "bound-tightened", ""},
		"many different items":         {`{"type":"array","minItems":4000000,"uniqueItems":true}`, `{"type":"array","maxItems":3}`, "bound-tightened", ""},
		"long strings":                 {`{"type":"string","minLength":18446744073709551615}`, `{"type":"string","maxLength":3}`, "bound-tightened", ""},
		"many patterns":                {`{"patternProperties":{"1":{},"2":{},"3":{},"4":{},"5":{},"6":{},"7":{}}}`, `{"type":"object"}`, "", "more than 6 patterns"},
		"repeated patterns":            {`{"type":"string","pattern":"^((a{1,30}){1,30})*$"}`, `{"type":"string","pattern":"^((b{1,30}){1,30})*$"}`, "pattern-changed", ""},
		"many names":                   {`{"type":"object","properties":{` + strings.TrimSuffix(strings.Repeat(`"NAME":{"$ref":"#"},`, 1), ",") + `},"additionalProperties":{"$ref":"#"}}`, `{"type":"object","additionalProperties":{"type":"object","additionalProperties":{"$ref":"#"}}}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			writer, err := compat.Parse([]byte(test.writer))
			if err == nil {
				var differences []compat.Difference
				differences, err = compat.Differences(writer, parse(t, test.reader))
				if test.rule != "" && err == nil {
					require.NotEmpty(t, differences)
					require.Equal(t, test.rule, string(differences[0].Rule))
				} else {
					require.Empty(t, differences)
				}
			}
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			_, err = compat.Example(writer)
			if err != nil {
				require.ErrorContains(t, err, "no valid value was found")
			}
			_, err = compat.Changes(writer, parse(t, test.reader))
			require.NoError(t, err)
		})
	}
}
