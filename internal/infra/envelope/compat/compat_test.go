package compat_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope/compat"
)

// parse reads a schema of a test.
func parse(t require.TestingT, text string) *jsonschema.Schema {
	s, err := compat.Parse([]byte(text))
	require.NoError(t, err, text)
	return s
}

// compile makes an independent validator that asserts formats and base64.
func compile(t require.TestingT, text string) *validator.Schema {
	document, err := validator.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err, text)
	c := validator.NewCompiler()
	c.DefaultDraft(validator.Draft2020)
	c.AssertFormat()
	c.AssertContent()
	require.NoError(t, c.AddResource("s.json", document))
	s, err := c.Compile("s.json")
	require.NoError(t, err, text)
	return s
}

func valid(t require.TestingT, s *validator.Schema, value []byte) bool {
	v, err := validator.UnmarshalJSON(bytes.NewReader(value))
	require.NoError(t, err, string(value))
	return s.Validate(v) == nil
}

// requireProven checks every counterexample with the validator.
func requireProven(t require.TestingT, writer, reader string, differences []compat.Difference) {
	w, r := compile(t, writer), compile(t, reader)
	for _, d := range differences {
		if d.Counterexample == nil {
			continue
		}
		require.True(t, valid(t, w, d.Counterexample), "%s: %s is not valid under the writer's %s", d.Rule, d.Counterexample, writer)
		require.False(t, valid(t, r, d.Counterexample), "%s: %s is valid under the reader's %s", d.Rule, d.Counterexample, reader)
	}
}

const (
	closed = `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`
	tree   = `{"$ref":"#/$defs/T","$defs":{"T":{"type":"object","properties":{"v":{"type":"integer"},"c":{"type":"array","items":{"$ref":"#/$defs/T"}}},"required":["v"],"additionalProperties":false}}}`
)

func TestDifferences(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		writer, reader string
		want           []string // rule and pointer
	}{
		"same":                    {closed, closed, nil},
		"same, described":         {closed, `{"$id":"https://x.test/a","title":"A",` + closed[1:], nil},
		"property unknown":        {closed, `{"type":"object","additionalProperties":false}`, []string{"property-unknown /a"}},
		"optional property added": {closed, `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"],"additionalProperties":false}`, nil},
		"required property added": {closed, `{"type":"object","properties":{"a":{"type":"string"},"b":{}},"required":["a","b"],"additionalProperties":false}`, []string{"property-added-required /b"}},
		"made required":           {`{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}`, closed, []string{"required-added /a"}},
		"made optional":           {closed, `{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}`, nil},
		"never there":             {`{"type":"object","properties":{"a":false},"additionalProperties":false}`, `{"type":"object","additionalProperties":false}`, nil},
		"open to closed":          {`{"type":"object"}`, `{"type":"object","additionalProperties":false}`, []string{"property-unknown /text"}},
		"closed to open":          {closed, `{"type":"object"}`, nil},
		"open, then typed":        {`{"type":"object"}`, `{"type":"object","properties":{"a":{"type":"string"}}}`, []string{"type-narrowed /a"}},
		"a pointer is escaped":    {`{"properties":{"a/b~c":{"type":"string"}},"type":"object"}`, `{"properties":{"a/b~c":{"type":"null"}},"type":"object"}`, []string{"type-changed /a~1b~0c"}},
		"several": {closed, `{"type":"object","properties":{"a":{"type":"integer"},"b":{}},"required":["b"]}`,
			[]string{"type-changed /a", "property-added-required /b"}},

		"map to map":        {`{"type":"object","additionalProperties":{"type":"integer"}}`, `{"type":"object","additionalProperties":{"type":"number"}}`, nil},
		"map narrowed":      {`{"type":"object","additionalProperties":{"type":"number"}}`, `{"type":"object","additionalProperties":{"type":"integer"}}`, []string{"type-narrowed /text"}},
		"object to map":     {closed, `{"type":"object","additionalProperties":{"type":"string"}}`, nil},
		"map to object":     {`{"type":"object","additionalProperties":{"type":"string"}}`, closed, []string{"property-added-required /a", "property-unknown /text"}},
		"map[int] to map":   {`{"type":"object","patternProperties":{"^[0-9]+$":{"type":"string"}},"additionalProperties":false}`, `{"type":"object","additionalProperties":{"type":"string"}}`, nil},
		"map to map[int]":   {`{"type":"object","additionalProperties":{"type":"string"}}`, `{"type":"object","patternProperties":{"^[0-9]+$":{"type":"string"}},"additionalProperties":false}`, []string{"property-unknown /text"}},
		"map[int] narrowed": {`{"type":"object","patternProperties":{"^[0-9]+$":{"type":"string"}},"additionalProperties":false}`, `{"type":"object","patternProperties":{"^[0-9]+$":{"type":"null"}},"additionalProperties":false}`, []string{"type-changed /0"}},

		"type changed":      {`{"type":"integer"}`, `{"type":"string"}`, []string{"type-changed "}},
		"integer to number": {`{"type":"integer"}`, `{"type":"number"}`, nil},
		"number to integer": {`{"type":"number"}`, `{"type":"integer"}`, []string{"type-narrowed "}},
		"a whole number":    {`{"const":1.0}`, `{"type":"integer"}`, nil},
		"no longer null":    {`{"oneOf":[{"type":"string"},{"type":"null"}]}`, `{"type":"string"}`, []string{"type-narrowed "}},
		"now null too":      {`{"type":"string"}`, `{"oneOf":[{"type":"string"},{"type":"null"}]}`, nil},
		"anyOf by type":     {`{"anyOf":[{"type":"string"},{"type":"integer"}]}`, `{"anyOf":[{"type":"number"},{"type":"string"}]}`, nil},
		"anyOf of one type": {`{"type":"string","minLength":2}`, `{"anyOf":[{"type":"string","minLength":3},{"type":"string","maxLength":2}]}`, []string{"alternatives-narrowed "}}, // not proven
		"discriminated": {`{"oneOf":[{"type":"object","properties":{"k":{"const":"a"}},"required":["k"]},{"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]}`,
			`{"type":"object","properties":{"k":{"enum":["b","a"]}}}`, nil},
		"allOf":         {`{"allOf":[{"minimum":3},{"type":"integer","maximum":9}]}`, `{"type":"integer","minimum":3,"maximum":9}`, nil},
		"true":          {`true`, `{}`, nil},
		"true narrowed": {`true`, `{"type":"null"}`, []string{"type-narrowed "}},
		"from false":    {`false`, `{"type":"null"}`, nil},
		"to false":      {`{"type":"null"}`, `false`, []string{"type-changed "}},

		"enum widened":        {`{"enum":["a","b"]}`, `{"enum":["c","b","a"]}`, nil},
		"enum narrowed":       {`{"enum":["a","b","c"]}`, `{"enum":["c"]}`, []string{"enum-narrowed "}},
		"enum added":          {`{"type":"string"}`, `{"enum":["a","text","b"]}`, []string{"enum-narrowed "}},
		"enum dropped":        {`{"type":"string","enum":["a"]}`, `{"type":"string"}`, nil},
		"enum of other types": {`{"type":"string","enum":["a",1]}`, `{"type":"string"}`, nil},
		"enum refused":        {`{"enum":["a",1]}`, `{"type":"string"}`, []string{"type-narrowed "}},
		"empty enum":          {`{"enum":[]}`, `{"type":"null"}`, nil},
		"const in enum":       {`{"const":"a"}`, `{"enum":["a","b"]}`, nil},
		"range in enum":       {`{"type":"integer","minimum":1,"maximum":3}`, `{"enum":[3,2,1]}`, nil},
		"range not in enum":   {`{"type":"integer","minimum":1,"maximum":4}`, `{"enum":[3,2,1]}`, []string{"enum-narrowed "}},
		"boolean to const":    {`{"type":"boolean"}`, `{"const":true}`, []string{"enum-narrowed "}},
		"objects in an enum":  {`{"const":{"a":[1.0]}}`, `{"enum":[{"a":[1]}]}`, nil},

		"minimum":              {`{"type":"integer","minimum":0}`, `{"type":"integer","minimum":1}`, []string{"bound-tightened "}},
		"minimum dropped":      {`{"type":"integer","minimum":0}`, `{"type":"integer"}`, nil},
		"exclusive, integer":   {`{"type":"integer","minimum":1}`, `{"type":"integer","exclusiveMinimum":0}`, nil},
		"exclusive, number":    {`{"type":"number","minimum":1}`, `{"type":"number","exclusiveMinimum":1}`, []string{"bound-tightened "}},
		"exclusive above":      {`{"type":"number","maximum":1}`, `{"type":"number","exclusiveMaximum":1}`, []string{"bound-tightened "}},
		"exclusive twice":      {`{"type":"number","minimum":1,"exclusiveMinimum":1}`, `{"type":"number","exclusiveMinimum":1}`, nil},
		"between":              {`{"type":"number","exclusiveMaximum":1}`, `{"type":"number","maximum":0.999}`, []string{"bound-tightened "}},
		"large bounds":         {`{"type":"integer","maximum":9007199254740993}`, `{"type":"integer","maximum":9007199254740992}`, []string{"bound-tightened "}},
		"far bounds":           {`{"type":"number"}`, `{"type":"number","minimum":-1e308,"maximum":1e308}`, []string{"bound-tightened ", "bound-tightened "}},
		"multiples":            {`{"type":"number","multipleOf":0.1}`, `{"type":"number","multipleOf":0.25}`, []string{"multiple-changed "}},
		"multiples divide":     {`{"type":"number","multipleOf":0.3}`, `{"type":"number","multipleOf":0.1}`, nil},
		"multiple of integers": {`{"type":"number","multipleOf":2}`, `{"type":"integer"}`, nil},
		"only zero":            {`{"type":"integer","minimum":-1,"maximum":1,"multipleOf":2}`, `{"type":"integer","multipleOf":7}`, nil},
		"no values":            {`{"type":"integer","minimum":2,"maximum":1}`, `{"type":"string"}`, nil},

		"shorter":            {`{"type":"string","minLength":1}`, `{"type":"string","minLength":2}`, []string{"bound-tightened "}},
		"longer":             {`{"type":"string"}`, `{"type":"string","maxLength":3}`, []string{"bound-tightened "}},
		"code points":        {`{"const":"日本語"}`, `{"type":"string","minLength":3,"maxLength":3}`, nil},
		"pattern dropped":    {`{"type":"string","pattern":"^a"}`, `{"type":"string"}`, nil},
		"pattern added":      {`{"type":"string"}`, `{"type":"string","pattern":"^[A-Z]{3}-[0-9]+$"}`, []string{"pattern-changed "}},
		"pattern changed":    {`{"type":"string","pattern":"^[a-z]+$"}`, `{"type":"string","pattern":"^[a-f]+$"}`, []string{"pattern-changed "}},
		"long and patterned": {`{"type":"string","pattern":"^[a-z]+$","minLength":30}`, `{"type":"string","maxLength":40}`, []string{"bound-tightened "}},
		"format added":       {`{"type":"string"}`, `{"type":"string","format":"uuid"}`, []string{"format-changed "}},
		"format dropped":     {`{"type":"string","format":"date"}`, `{"type":"string"}`, nil},
		"format changed":     {`{"type":"string","format":"date"}`, `{"type":"string","format":"date-time"}`, []string{"format-changed "}},
		"base64":             {`{"type":"string"}`, `{"type":"string","contentEncoding":"base64"}`, []string{"format-changed "}},
		"too long to show":   {`{"type":"string"}`, `{"type":"string","maxLength":1000000}`, []string{"bound-tightened "}},

		"items":                {`{"type":"array","items":{"type":"string"}}`, `{"type":"array","items":{"type":"integer"}}`, []string{"type-changed /0"}},
		"never any item":       {`{"type":"array","items":false}`, `{"type":"array","items":{"type":"integer"},"maxItems":0}`, nil},
		"fewer":                {`{"type":"array"}`, `{"type":"array","minItems":2}`, []string{"bound-tightened "}},
		"more":                 {`{"type":"array","minItems":1}`, `{"type":"array","maxItems":3}`, []string{"bound-tightened "}},
		"unique":               {`{"type":"array","items":{"type":"integer"}}`, `{"type":"array","uniqueItems":true}`, []string{"unique-added "}},
		"unique, of two":       {`{"type":"array","maxItems":2}`, `{"type":"array","uniqueItems":true}`, []string{"unique-added "}},
		"unique anyway":        {`{"type":"array","maxItems":1}`, `{"type":"array","uniqueItems":true}`, nil},
		"few different":        {`{"type":"array","uniqueItems":true,"items":{"type":"boolean"}}`, `{"type":"array","maxItems":2}`, nil},
		"different, of three":  {`{"type":"array","uniqueItems":true,"minItems":3,"items":{"type":"integer"}}`, `{"type":"array","items":{"minimum":2}}`, []string{"bound-tightened /0"}},
		"many different":       {`{"type":"array","uniqueItems":true,"minItems":40,"items":{"type":"string"}}`, `{"type":"array","maxItems":3}`, []string{"bound-tightened "}},
		"different, of length": {`{"type":"array","uniqueItems":true,"minItems":40,"items":{"type":"string","minLength":2,"maxLength":2}}`, `{"type":"array","maxItems":3}`, []string{"bound-tightened "}},
		"too few different":    {`{"type":"array","uniqueItems":true,"minItems":3,"items":{"type":"boolean"}}`, `{"type":"null"}`, nil},

		"recursive":          {tree, tree, nil},
		"recursive narrowed": {tree, strings.Replace(tree, `"type":"integer"`, `"type":"string"`, 1), []string{"type-changed /v"}},
		"unfolded once":      {tree, `{"type":"object","properties":{"v":{"type":"integer"},"c":{"type":"array","items":{"$ref":"#/$defs/T"}}},"additionalProperties":false,"$defs":{"T":{"type":"object","properties":{"v":{"type":"number"},"c":{"type":"array","items":{"$ref":"#"}}},"additionalProperties":false}}}`, nil},
		// Within the first, U is found to fit on the ground that T does, which it doesn't.
		"an assumption that failed": {
			`{"type":"object","properties":{"first":{"type":"object","properties":{"w":{"$ref":"#/$defs/T"}}},"second":{"$ref":"#/$defs/U"}},"$defs":{
				"T":{"type":"object","properties":{"u":{"$ref":"#/$defs/U"},"bad":{"type":"string"}}},"U":{"type":"object","properties":{"t":{"$ref":"#/$defs/T"}}}}}`,
			`{"type":"object","properties":{"first":{"anyOf":[{"type":"object","properties":{"w":{"$ref":"#/$defs/A"}}},{"type":"object"}]},"second":{"$ref":"#/$defs/B"}},"$defs":{
				"A":{"type":"object","properties":{"u":{"$ref":"#/$defs/B"},"bad":{"type":"integer"}}},"B":{"type":"object","properties":{"t":{"$ref":"#/$defs/A"}}}}}`,
			[]string{"type-changed /second/t/bad"}},
		"requires itself": {`{"type":"object","properties":{"next":{"$ref":"#"}},"required":["next"]}`, `{"type":"string"}`, nil},
		"used twice": {`{"type":"object","properties":{"a":{"$ref":"#/$defs/A"},"b":{"$ref":"#/$defs/A"}},"$defs":{"A":{"type":"object","properties":{"x":{"type":"string"}}}}}`,
			`{"type":"object","properties":{"a":{"$ref":"#/$defs/A"},"b":{"$ref":"#/$defs/A"}},"$defs":{"A":{"type":"object","properties":{"x":{"type":"null"}}}}}`,
			[]string{"type-changed /a/x", "type-changed /b/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			differences, err := compat.Differences(parse(t, test.writer), parse(t, test.reader))
			require.NoError(t, err)
			var got []string
			for _, d := range differences {
				got = append(got, string(d.Rule)+" "+d.Pointer)
				if name != "anyOf of one type" && name != "too long to show" {
					require.NotEmpty(t, d.Counterexample, "no counterexample: %+v", d)
				}
				require.NotRegexp(t, "{(writer|reader)}", d.Message)
			}
			require.Equal(t, test.want, got)
			requireProven(t, test.writer, test.reader, differences)
		})
	}
}

func TestCheckByMode(t *testing.T) {
	t.Parallel()
	oldest := parse(t, `{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":false}`)
	last := parse(t, `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"],"additionalProperties":false}`)
	next := parse(t, `{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`)
	type row struct {
		direction compat.Direction
		rule      compat.Rule
		against   int
	}
	backwardLast := row{compat.DirectionBackward, compat.PropertyUnknown, 1}
	backwardOldest := row{compat.DirectionBackward, compat.RequiredAdded, 0}
	for mode, want := range map[compat.Mode][]row{
		compat.Backward: {backwardLast}, compat.BackwardTransitive: {backwardOldest, backwardLast},
		compat.Forward: nil, compat.ForwardTransitive: nil,
		compat.Full: {backwardLast}, compat.FullTransitive: {backwardOldest, backwardLast}, compat.None: nil,
	} {
		differences, err := compat.Check(mode, next, oldest, last)
		require.NoError(t, err)
		var got []row
		for _, d := range differences {
			got = append(got, row{d.Direction, d.Rule, d.Against})
		}
		require.Equal(t, want, got, mode)
	}
	// The other way round: the last consumer meets what the new producer sends.
	differences, err := compat.Check(compat.Forward, last, next)
	require.NoError(t, err)
	require.Len(t, differences, 1)
	require.Equal(t, compat.Difference{
		Direction: compat.DirectionForward, Pointer: "/b", Field: "b", Rule: compat.PropertyUnknown,
		Message:        `A new event may hold "b", which an old consumer doesn't know and refuses.`,
		Counterexample: json.RawMessage(`{"a":0,"b":"text"}`),
	}, differences[0])

	differences, err = compat.Check(compat.Full, next)
	require.NoError(t, err)
	require.Empty(t, differences, "there is nothing earlier")
	_, err = compat.Check("SIDEWAYS", next)
	require.ErrorContains(t, err, `mode "SIDEWAYS": use one of BACKWARD,`)
}

func TestParseMode(t *testing.T) {
	t.Parallel()
	mode, err := compat.ParseMode("full_transitive")
	require.NoError(t, err)
	require.Equal(t, compat.FullTransitive, mode)
	_, err = compat.ParseMode("")
	require.ErrorContains(t, err, "NONE")
}

func TestWhatIsNotSupported(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"properties":{"a":{"not":{}}}}`:             `/properties/a/not: the keyword "not" is not supported`,
		`{"items":{"unevaluatedItems":false}}`:        `/items/unevaluatedItems: the keyword "unevaluatedItems"`,
		`{"$defs":{"a/b":{"minProperties":1}}}`:       `/$defs/a~1b/minProperties: the keyword "minProperties"`,
		`{"anyOf":[{"if":true}]}`:                     `/anyOf/0/if: the keyword "if"`,
		`{"Type":"string"}`:                           `the keyword "Type"`,
		`{"const":null}`:                              `/const: the keyword "const" with null`,
		`{"type":["string","null"]}`:                  `/type: the keyword "type" with a list`,
		`{"type":"text"}`:                             `not a JSON Schema 2020-12`,
		`{"minimum":"1"}`:                             `not a JSON Schema 2020-12`,
		`{"$ref":"other.json"}`:                       `refer to #/$defs only`,
		`{"$ref":"file:///etc/hostname"}`:             `refer to #/$defs only`,
		`{"pattern":"("}`:                             `pattern`,
		`{"items":{"enum":["a",[9007199254740993]]}}`: `/items/enum: the number 9007199254740993 would be rounded`,
		`{"const":0.10000000000000000001}`:            `/const: the number 0.10000000000000000001 would be rounded`,
		`{"const":1e999}`:                             `/const: the number 1e999 is too large`,
		`[]`:                                          `not a JSON Schema 2020-12`,
		`{} {}`:                                       `not JSON`,
		strings.Repeat(`{"items":`, 150) + `true` + strings.Repeat(`}`, 150): `nested more than 100 deep`,
	} {
		_, err := compat.Parse([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
	for text, want := range map[string]string{
		`{"properties":{"a":{"format":"sku"}}}`:                 `/properties/a/format: "sku" is not supported: known are date, date-time`,
		`{"contentEncoding":"base32"}`:                          `/contentEncoding: "base32" is not supported`,
		`{"properties":{"a":{"$id":"https://x.test/a"}}}`:       `/properties/a/$id: only the whole schema`,
		`{"properties":{"a":{"$ref":"#/properties/b"},"b":{}}}`: `/properties/a/$ref: "#/properties/b" is not in the schema`,
		`{"$ref":"#"}`: `refers to itself`,
		`{"items":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/a"}]},"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"}]}}}`: `/$defs/a: the schema refers to itself`,
		`{"oneOf":[{"type":"integer"},{"type":"number"}]}`:                                                          `/oneOf: the alternatives 0 and 1 are not told apart`,
		`{"maximum":1e999999999}`: `/maximum: the number 1e999999999 is too large`,
	} {
		_, err := compat.Differences(parse(t, text), parse(t, text))
		require.ErrorContains(t, err, want, text)
	}
	for keyword, s := range map[string]*jsonschema.Schema{
		"not":                   {Not: &jsonschema.Schema{}},
		"unevaluatedProperties": {Extras: map[string]any{"unevaluatedProperties": false}},
		"nil":                   nil,
	} {
		_, err := compat.Differences(s, &jsonschema.Schema{})
		require.ErrorContains(t, err, keyword)
	}
	_, err := compat.Differences(&jsonschema.Schema{Extras: map[string]any{"x-owner": "me"}}, &jsonschema.Schema{})
	require.NoError(t, err)
}

func TestExample(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"type":"object","properties":{"id":{"type":"string","format":"uuid"},"at":{"type":"string","format":"date-time"},"mail":{"type":"string","format":"email"},"n":{"type":"integer","minimum":3},"tags":{"type":"array","items":{"type":"string"}}},"required":["id"],"additionalProperties":false}`: `{"at":"2006-01-02T15:04:05Z","id":"123e4567-e89b-12d3-a456-426614174000","mail":"ada@example.com","n":3,"tags":["text"]}`,
		`{"type":"string","examples":["red"],"default":"blue"}`:                                              `"red"`,
		`{"type":"string","maxLength":3,"examples":["long one"],"default":"abc"}`:                            `"abc"`, // an example that isn't valid is not taken
		`{"type":"string","enum":["b","a"]}`:                                                                 `"b"`,
		`{"oneOf":[{"type":"null"},{"type":"integer"}]}`:                                                     `1`,
		`{"type":"string","pattern":"^[A-Z]{2}-[0-9]{3}$"}`:                                                  `"AA-000"`,
		`{"type":"object","additionalProperties":{"type":"integer"}}`:                                        `{"text":1}`,
		`{"type":"object","patternProperties":{"^[0-9]+$":{"type":"integer"}},"additionalProperties":false}`: `{"0":1}`,
		tree: `{"c":[],"v":1}`,
		`{"oneOf":[{"type":"null"},{"type":"object","properties":{"next":{"$ref":"#"}},"required":["next"]}]}`: `{"next":null}`,
		`{}`: `"text"`,
	} {
		value, err := compat.Example(parse(t, text))
		require.NoError(t, err, text)
		got, err := json.Marshal(value)
		require.NoError(t, err)
		require.Equal(t, want, string(got), text)
		require.True(t, valid(t, compile(t, text), got))
	}
	value, err := compat.MinimalExample(parse(t, tree))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"v": json.Number("0")}, value)
	_, err = compat.Example(parse(t, `false`))
	require.ErrorContains(t, err, "no value is valid")
	_, err = compat.Example(parse(t, `{"type":"string","pattern":"^a$","minLength":2}`))
	require.ErrorContains(t, err, "no valid value was found")
}

func TestChanges(t *testing.T) {
	t.Parallel()
	object := func(properties, required string) string {
		return `{"type":"object","properties":{` + properties + `},"required":[` + required + `],"additionalProperties":false}`
	}
	for name, test := range map[string]struct {
		old, next string
		want      []string
	}{
		"none": {closed, closed, nil},
		"fields": {object(`"a":{"type":"string"},"b":{"type":"integer"},"z":{}`, `"a"`), object(`"c":{"type":"boolean"},"d":{"type":"null"},"a":{"type":"string"},"z":{}`, `"c","z"`),
			[]string{`field "a" is now optional`, `field "b" removed`, `field "z" is now required`, `new required field "c"`, `new optional field "d"`}},
		"renamed": {object(`"sku":{"type":"string","minLength":1}`, `"sku"`), object(`"article":{"type":"string","minLength":1}`, `"article"`),
			[]string{`field "sku" removed and "article" added: renamed?`}},
		"renamed, to which?": {object(`"a":{"type":"string"}`, ``), object(`"b":{"type":"string"},"c":{"type":"string"}`, ``),
			[]string{`field "a" removed`, `new optional field "b"`, `new optional field "c"`}},
		"deep": {object(`"items":{"type":"array","items":`+object(`"quantity":{"type":"integer"}`, ``)+`}`, ``),
			object(`"items":{"type":"array","items":`+object(`"quantity":{"type":"string"}`, ``)+`}`, ``),
			[]string{`field "items[].quantity": integer became string`}},
		"null":    {object(`"a":{"type":"string"}`, ``), object(`"a":{"oneOf":[{"type":"string"},{"type":"null"}]}`, ``), []string{`field "a": string became string or null`}},
		"enum":    {object(`"a":{"enum":["x","y"]}`, ``), object(`"a":{"enum":["y","z"]}`, ``), []string{`field "a": enum values added: "z"`, `field "a": enum values removed: "x"`}},
		"no enum": {`{"type":"string","enum":["x"]}`, `{"type":"string"}`, []string{`the value: no longer only these values: "x"`}},
		"bounds":  {`{"type":"integer","minimum":1}`, `{"type":"integer","minimum":0,"maximum":9}`, []string{`the value: from 1 became from 0 to 9`}},
		"texts": {`{"type":"string","minLength":1,"format":"date"}`, `{"type":"string","pattern":"^a","format":"date-time"}`,
			[]string{`the value: length 1 or more became any`, `the value: new pattern ^a`, `the value: format date became date-time`}},
		"arrays": {`{"type":"array","maxItems":3}`, `{"type":"array","uniqueItems":true}`, []string{`the value: number of items at most 3 became any`, `the value: each item once now`}},
		"opened": {closed, strings.Replace(closed, `,"additionalProperties":false`, ``, 1), []string{`the value: other properties are allowed now`}},
		"map":    {`{"type":"object","additionalProperties":{"type":"string"}}`, `{"type":"object","additionalProperties":{"type":"integer"}}`, []string{`field "*": string became integer`}},
		"tree":   {tree, strings.Replace(tree, `"integer"`, `"string"`, 1), []string{`field "v": integer became string`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changes, err := compat.Changes(parse(t, test.old), parse(t, test.next))
			require.NoError(t, err)
			var got []string
			for _, c := range changes {
				got = append(got, c.String())
			}
			require.Equal(t, test.want, got)
		})
	}
}
