package compat_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/millwright/internal/infra/envelope/compat"
)

// schemas draws schemas as JSON objects, with $refs to the definitions A and B.
func schemas(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		if depth <= 0 {
			return leaf(t)
		}
		sub := func(label string) any { return schemas(depth-1).Draw(t, label) }
		switch rapid.IntRange(0, 11).Draw(t, "form") {
		case 0, 1, 2:
			s := map[string]any{"type": "object"}
			properties := map[string]any{}
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c/d", "7"}), 0, 3, rapid.ID[string]).Draw(t, "names") {
				properties[name] = sub(name)
			}
			s["properties"] = properties
			s["required"] = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c/d", "z"}), 0, 2, rapid.ID[string]).Draw(t, "required")
			switch rapid.IntRange(0, 4).Draw(t, "additional") {
			case 0:
			case 1:
				s["additionalProperties"] = sub("additional")
			default:
				s["additionalProperties"] = false
			}
			if rapid.IntRange(0, 5).Draw(t, "patterned") == 0 {
				s["patternProperties"] = map[string]any{rapid.SampledFrom([]string{"^[0-9]+$", "^a"}).Draw(t, "names"): sub("patterned")}
			}
			return s
		case 3, 4:
			s := map[string]any{"type": "array"}
			if rapid.Bool().Draw(t, "typed") {
				s["items"] = sub("items")
			}
			optional(t, s, "minItems", rapid.IntRange(0, 3))
			optional(t, s, "maxItems", rapid.IntRange(0, 4))
			if rapid.IntRange(0, 3).Draw(t, "unique") == 0 {
				s["uniqueItems"] = true
			}
			return s
		case 5:
			return map[string]any{"oneOf": []any{sub("some"), map[string]any{"type": "null"}}}
		case 6:
			return map[string]any{rapid.SampledFrom([]string{"anyOf", "allOf"}).Draw(t, "of"): []any{sub("0"), sub("1")}}
		case 7, 8:
			return map[string]any{"$ref": "#/$defs/" + rapid.SampledFrom([]string{"A", "B"}).Draw(t, "ref")}
		}
		return leaf(t)
	})
}

func optional[T any](t *rapid.T, s map[string]any, keyword string, values *rapid.Generator[T]) {
	if rapid.IntRange(0, 2).Draw(t, "has "+keyword) == 0 {
		s[keyword] = values.Draw(t, keyword)
	}
}

func leaf(t *rapid.T) any {
	s := map[string]any{}
	switch rapid.IntRange(0, 9).Draw(t, "leaf") {
	case 0:
		return rapid.Bool().Draw(t, "any")
	case 1:
		s["type"] = rapid.SampledFrom([]string{"boolean", "null"}).Draw(t, "type")
	case 2:
		s["enum"] = rapid.SliceOfN(rapid.SampledFrom([]any{"a", "b", "", 0, 1, 2, 1.5, true, nil, []any{}, map[string]any{"a": 1}}), 0, 4).Draw(t, "enum")
		optional(t, s, "type", rapid.SampledFrom([]string{"string", "integer", "number"}))
	case 3:
		s["const"] = rapid.SampledFrom([]any{"a", "b", 1, 2.5, false}).Draw(t, "const")
	case 4, 5, 6:
		s["type"] = rapid.SampledFrom([]string{"integer", "number"}).Draw(t, "type")
		half := rapid.Map(rapid.IntRange(-6, 6), func(n int) float64 { return float64(n) / 2 })
		for _, keyword := range []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} {
			if rapid.Bool().Draw(t, "bound") {
				optional(t, s, keyword, half)
			}
		}
		optional(t, s, "multipleOf", rapid.SampledFrom([]float64{0.1, 0.25, 1, 1.5, 2, 3}))
	default:
		s["type"] = "string"
		optional(t, s, "minLength", rapid.IntRange(0, 4))
		optional(t, s, "maxLength", rapid.IntRange(0, 6))
		if rapid.IntRange(0, 3).Draw(t, "more") == 0 {
			optional(t, s, "pattern", rapid.SampledFrom([]string{"^[a-c]+$", "^a", "b$", "^[0-9]{2}$"}))
			optional(t, s, "format", rapid.SampledFrom([]string{"date", "date-time", "uuid", "ipv4", "email"}))
			optional(t, s, "contentEncoding", rapid.Just("base64"))
		}
	}
	return s
}

// documents draws whole schemas, as JSON text.
func documents() *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		definition := func(name string) any {
			// Never just a $ref: a cycle of those means nothing.
			return map[string]any{"type": "object", "properties": map[string]any{
				"a": schemas(1).Draw(t, name), "b": map[string]any{"type": "array", "items": schemas(1).Draw(t, name)},
			}, "required": rapid.SampledFrom([][]string{{}, {"a"}, {"b"}}).Draw(t, "required"), "additionalProperties": false}
		}
		return map[string]any{"allOf": []any{schemas(3).Draw(t, "root")}, "$defs": map[string]any{"A": definition("A"), "B": definition("B")}}
	})
}

func write(t require.TestingT, v any) string {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}

// mutate changes one thing somewhere in a schema, in place.
func mutate(t *rapid.T, v any) any {
	s, ok := v.(map[string]any)
	if !ok || len(s) == 0 {
		return leaf(t)
	}
	keyword := rapid.SampledFrom(slices.Sorted(maps.Keys(s))).Draw(t, "where")
	if _, top := s["$defs"]; top && rapid.IntRange(0, 3).Draw(t, "root") > 0 {
		keyword = "allOf"
	}
	deeper := rapid.IntRange(0, 9).Draw(t, "deeper") > 1
	switch keyword {
	case "$defs", "properties", "patternProperties":
		subs := s[keyword].(map[string]any)
		if len(subs) > 0 {
			name := rapid.SampledFrom(slices.Sorted(maps.Keys(subs))).Draw(t, "name")
			if keyword != "$defs" && !deeper {
				delete(subs, name)
			} else {
				subs[name] = mutate(t, subs[name])
			}
		} else if keyword == "properties" {
			subs["n"] = leaf(t)
		}
	case "items", "additionalProperties":
		s[keyword] = mutate(t, s[keyword])
	case "allOf", "anyOf", "oneOf":
		list := s[keyword].([]any)
		list[0] = mutate(t, list[0])
	case "$ref":
		s[keyword] = rapid.SampledFrom([]string{"#/$defs/A", "#/$defs/B"}).Draw(t, "ref")
	case "required":
		s[keyword] = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "n"}), 0, 2, rapid.ID[string]).Draw(t, "required")
	case "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems":
		s[keyword] = rapid.IntRange(0, 5).Draw(t, "bound")
	case "type":
		switch s[keyword] {
		case "integer":
			s[keyword] = "number"
		case "number":
			s[keyword] = "integer"
		case "string":
			s[keyword], s["maxLength"] = "string", rapid.IntRange(0, 5).Draw(t, "maxLength")
		default:
			return map[string]any{"anyOf": []any{s, leaf(t)}}
		}
	default:
		delete(s, keyword)
	}
	return s
}

func clone(t require.TestingT, s map[string]any) (c map[string]any) {
	require.NoError(t, json.Unmarshal([]byte(write(t, s)), &c))
	return c
}

// values draws values that a schema is likely to allow.
func values(t *rapid.T, root map[string]any, schema any, depth int) any {
	s, ok := schema.(map[string]any)
	if !ok || depth <= 0 {
		return rapid.SampledFrom([]any{nil, true, 0, 1, "a", []any{}, map[string]any{}}).Draw(t, "any")
	}
	if ref, ok := s["$ref"].(string); ok {
		return values(t, root, root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")], depth)
	}
	for _, keyword := range []string{"oneOf", "anyOf", "allOf"} {
		if list, ok := s[keyword].([]any); ok {
			return values(t, root, rapid.SampledFrom(list).Draw(t, keyword), depth)
		}
	}
	if list, ok := s["enum"].([]any); ok && len(list) > 0 {
		return rapid.SampledFrom(list).Draw(t, "enum")
	}
	if v, ok := s["const"]; ok {
		return v
	}
	int64Of := func(keyword string, otherwise int) int {
		if n, ok := s[keyword].(float64); ok {
			return int(n)
		}
		return otherwise
	}
	switch s["type"] {
	case "object":
		o := map[string]any{}
		properties, _ := s["properties"].(map[string]any)
		required := fmt.Sprint(s["required"])
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			if strings.Contains(required, name) || rapid.Bool().Draw(t, "has "+name) {
				o[name] = values(t, root, properties[name], depth-1)
			}
		}
		if s["additionalProperties"] != false && rapid.Bool().Draw(t, "more") {
			name := rapid.SampledFrom([]string{"a", "b", "7", "z", "q"}).Draw(t, "name")
			if _, ok := o[name]; !ok {
				o[name] = values(t, root, s["additionalProperties"], depth-1)
			}
		}
		if patterns, ok := s["patternProperties"].(map[string]any); ok {
			o["7"] = values(t, root, patterns["^[0-9]+$"], depth-1)
		}
		return o
	case "array":
		list := []any{}
		low := int64Of("minItems", 0)
		for range rapid.IntRange(low, max(low, int64Of("maxItems", low+3))).Draw(t, "length") {
			list = append(list, values(t, root, s["items"], depth-1))
		}
		return list
	case "integer":
		return rapid.IntRange(-10, 10).Draw(t, "integer")
	case "number":
		return float64(rapid.IntRange(-40, 40).Draw(t, "number")) / 4
	case "string":
		if format, ok := s["format"]; ok && format == "date" {
			return "2020-02-02"
		}
		low := int64Of("minLength", 0)
		return rapid.StringOfN(rapid.SampledFrom([]rune("abcé01")), low, max(low, int64Of("maxLength", low+5)), -1).Draw(t, "string")
	case "boolean":
		return rapid.Bool().Draw(t, "boolean")
	}
	return nil
}

// checkPair asserts both halves of the promise for a pair of schemas.
func checkPair(t *rapid.T, writer, reader map[string]any) {
	w, r := write(t, writer), write(t, reader)
	differences, err := compat.Differences(parse(t, w), parse(t, r))
	if err != nil {
		require.ErrorContains(t, err, "are not told apart", "the only part outside the subset that is generated")
		t.SkipNow()
	}
	requireProven(t, w, r, differences)
	if len(differences) > 0 {
		return
	}
	ws, rs := compile(t, w), compile(t, r)
	for i := range 22 {
		value := []byte(write(t, values(t, writer, writer, 6)))
		if i >= 20 {
			make := compat.Example
			if i == 21 {
				make = compat.MinimalExample
			}
			example, err := make(parse(t, w))
			if err != nil { // nothing is valid, or nothing was found
				continue
			}
			value = []byte(write(t, example))
		}
		require.False(t, valid(t, ws, value) && !valid(t, rs, value), "%s is valid under the writer's schema only:\n%s\n%s", value, w, r)
	}
}

func TestPropertyIndependentSchemas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		checkPair(t, clone(t, documents().Draw(t, "writer")), clone(t, documents().Draw(t, "reader")))
	})
}

func TestPropertyMutatedSchemas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		writer := clone(t, documents().Draw(t, "writer"))
		reader := mutate(t, clone(t, writer)).(map[string]any)
		checkPair(t, writer, clone(t, reader))
		checkPair(t, clone(t, reader), writer)
	})
}

func TestPropertyReflexive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := write(t, documents().Draw(t, "schema"))
		differences, err := compat.Differences(parse(t, text), parse(t, text))
		if err != nil {
			t.SkipNow()
		}
		require.Empty(t, differences, text)
		changes, err := compat.Changes(parse(t, text), parse(t, text))
		require.NoError(t, err)
		require.Empty(t, changes, text)
	})
}

func TestPropertyExamplesAreValid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := write(t, documents().Draw(t, "schema"))
		s := parse(t, text)
		for name, make := range map[string]func() (any, error){
			"full":    func() (any, error) { return compat.Example(s) },
			"minimal": func() (any, error) { return compat.MinimalExample(s) },
		} {
			value, err := make()
			if err == nil {
				require.True(t, valid(t, compile(t, text), []byte(write(t, value))), "%s: %s of %s", name, write(t, value), text)
			}
		}
	})
}
