package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

// The keywords that the check knows, and what their values hold.
var (
	plainKeywords = []string{
		"$schema", "$id", "$anchor", "$comment", "$ref", "title", "description", "default", "deprecated", "readOnly",
		"writeOnly", "examples", "type", "multipleOf", "maximum", "exclusiveMaximum", "minimum",
		"exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "required",
		"format", "contentEncoding",
	}
	schemaKeywords = []string{"items", "additionalProperties"}
	listKeywords   = []string{"allOf", "anyOf", "oneOf"}
	mapKeywords    = []string{"$defs", "properties", "patternProperties"}
)

// Parse reads a JSON Schema 2020-12. It is strict where decoding into a
// jsonschema.Schema is not: a keyword outside the subset of this package is an
// error that names it and its place, unless it starts with "x-".
func Parse(data []byte) (*jsonschema.Schema, error) {
	document, err := validator.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("compat: the schema is not JSON: %w", err)
	}
	if err := checkKeywords(document, "", 0); err != nil {
		return nil, err
	}
	compiler := validator.NewCompiler()
	compiler.DefaultDraft(validator.Draft2020)
	compiler.UseLoader(noLoader{})
	if err := compiler.AddResource(address, document); err != nil {
		return nil, fmt.Errorf("compat: %w", err)
	}
	if _, err := compiler.Compile(address); err != nil {
		return nil, fmt.Errorf("compat: not a JSON Schema 2020-12: %w", err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(bytes.TrimSpace(data), &s); err != nil {
		return nil, fmt.Errorf("compat: decode the schema: %w", err)
	}
	return &s, nil
}

// address is what the validator calls the schema in its errors.
const address = "schema:///"

// noLoader keeps a $ref from reading files.
type noLoader struct{}

func (noLoader) Load(address string) (any, error) {
	return nil, fmt.Errorf("%s is outside the schema: refer to #/$defs only", address)
}

func checkKeywords(document any, pointer string, depth int) error {
	if depth > maxDepth {
		return tooDeep(pointer)
	}
	keywords, ok := document.(map[string]any)
	if !ok { // true, false, or what the metaschema will refuse
		return nil
	}
	for _, keyword := range slices.Sorted(maps.Keys(keywords)) {
		value, at := keywords[keyword], pointer+"/"+escape(keyword)
		var err error
		switch {
		case strings.HasPrefix(keyword, "x-"):
		case keyword == "const" && value == nil:
			err = fmt.Errorf(`compat: %s: the keyword "const" with null is not supported: write "type": "null"`, at)
		case keyword == "type" && isList(value):
			err = fmt.Errorf(`compat: %s: the keyword "type" with a list is not supported: write "anyOf" with one type each`, at)
		case keyword == "enum" || keyword == "const":
			if err = exact(value, true); err != nil { // decoding makes a float64 of it
				err = fmt.Errorf("compat: %s: %w", at, err)
			}
		case slices.Contains(plainKeywords, keyword):
		case slices.Contains(schemaKeywords, keyword):
			err = checkKeywords(value, at, depth+1)
		case slices.Contains(listKeywords, keyword):
			list, _ := value.([]any)
			for i, sub := range list {
				if err = checkKeywords(sub, at+"/"+strconv.Itoa(i), depth+1); err != nil {
					break
				}
			}
		case slices.Contains(mapKeywords, keyword):
			subs, _ := value.(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(subs)) {
				if err = checkKeywords(subs[name], at+"/"+escape(name), depth+1); err != nil {
					break
				}
			}
		default:
			err = unsupported(at, keyword)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isList(v any) bool { _, ok := v.([]any); return ok }

func unsupported(pointer, keyword string) error {
	return fmt.Errorf("compat: %s: the keyword %q is not supported, so compatibility can't be decided: leave it out of the schema", pointer, keyword)
}

func tooDeep(pointer string) error {
	return fmt.Errorf("compat: %s: the schema is nested more than %d deep: use $defs", pointer, maxDepth)
}

// escape makes a token of a JSON pointer (RFC 6901) of a name.
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// defName returns the name in "#/$defs/name".
func defName(ref string) (string, bool) {
	name, ok := strings.CutPrefix(ref, "#/$defs/")
	if !ok || strings.Contains(name, "/") {
		return "", false
	}
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(name), true
}
