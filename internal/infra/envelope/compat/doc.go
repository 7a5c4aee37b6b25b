// Package compat says whether one version of an event's schema reads what
// another one wrote, and shows a value that proves it where it doesn't.
//
// It works on the subset of JSON Schema 2020-12 that
// github.com/invopop/jsonschema makes of Go types:
//
//   - type (one), enum, const, $ref to # and #/$defs, allOf, anyOf, and oneOf
//     whose alternatives are told apart by their types or by a const,
//   - properties, required, additionalProperties, patternProperties,
//   - items, minItems, maxItems, uniqueItems,
//   - minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf,
//   - minLength, maxLength (in code points), pattern, format, contentEncoding
//     base64.
//
// Every other keyword is an error that names it and its place; those that only
// describe (title, examples, ...) and those that start with "x-" are skipped.
// Read committed schemas with Parse: decoding into a jsonschema.Schema drops
// what it doesn't know.
//
// Formats and base64 are asserted, as a consumer's decoder does: adding one
// narrows, dropping one widens, and two different ones don't fit, since no
// format is known to contain another. Patterns are Go's, and are compared by their text.
// Numbers are compared exactly; an integer is any number without a fraction,
// 1.0 too. Whoever wants an int8 told from an int64 gives it bounds.
//
// The answer is on the safe side. No difference means that each value the
// writer's schema allows is allowed by the reader's. A difference without a
// counterexample means that this could not be proven, and that no value was
// found that shows the contrary, or only one too large to show.
package compat
