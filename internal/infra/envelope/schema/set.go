package schema

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/compat"
)

// Set is the committed schemas of a catalog's events. It is safe for concurrent
// use.
type Set struct {
	documents []*Document
	versions  map[version]*compiled
}

type version struct {
	eventType string
	number    int
}

type compiled struct {
	document *Document
	once     sync.Once
	schema   *jsonschema.Schema
	err      error
}

// regenerate ends the message of every difference between types and files.
const regenerate = "run `go generate ./...` and commit what it wrote"

// NewSet reads the committed schemas. It fails, with all reasons joined, if a
// version that the catalog can read has none, or one that its Go type doesn't
// have, or if a Compatibility is not one that there is. Files of versions that are no longer read are kept, and not looked at.
func NewSet(catalog *envelope.Catalog, files fs.FS) (*Set, error) {
	committed, err := Read(files)
	if err != nil {
		return nil, err
	}
	types, err := Generate(catalog, "")
	if err != nil {
		return nil, err
	}
	s := &Set{documents: committed, versions: map[version]*compiled{}}
	for _, d := range committed {
		s.versions[version{d.Type, d.Version}] = &compiled{document: d}
	}
	var problems []error
	for _, entry := range catalog.Types() {
		if _, err := compat.ParseMode(entry.Compatibility); err != nil {
			problems = append(problems, fmt.Errorf("schema: %s: Compatibility: %w", entry.Name, err))
		}
	}
	for _, want := range types {
		switch have := s.versions[version{want.Type, want.Version}]; {
		case have == nil:
			problems = append(problems, fmt.Errorf("schema: %s has no committed schema %s: %s", want, want.Path(), regenerate))
		case !have.document.Same(want):
			problems = append(problems, fmt.Errorf("schema: %s differs from its committed schema %s: %s", want, want.Path(), regenerate))
		}
	}
	return s, errors.Join(problems...)
}

// Documents returns all of them, in the order of their types and versions.
func (s *Set) Documents() []*Document { return slices.Clone(s.documents) }

// Document returns that of a version, or nil.
func (s *Set) Document(eventType string, number int) *Document {
	if c := s.versions[version{eventType, number}]; c != nil {
		return c.document
	}
	return nil
}

// Validate checks the payload against the schema of its version. Its error is an
// *envelope.Error of the kind envelope.ErrPayload that names each place by its
// JSON pointer, and no value. An event of a type or version without a schema is not
// its business: decoding refuses it.
func (s *Set) Validate(e envelope.Envelope) error {
	c := s.versions[version{e.Type, e.SchemaVersion}]
	if c == nil {
		return nil
	}
	c.once.Do(func() { c.schema, c.err = compile(c.document) })
	if c.err != nil {
		return c.err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Data))
	if err != nil {
		return nil // what is no JSON at all, decoding refuses with a better message
	}
	err = c.schema.Validate(value)
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return &envelope.Error{
			Kind: envelope.ErrPayload, Event: fmt.Sprintf("%s, id %q", c.document, e.ID),
			Detail: "it doesn't match its schema: " + strings.Join(places(invalid), "; "),
		}
	}
	return err
}

func compile(d *Document) (*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(d.JSON()))
	if err != nil {
		return nil, fmt.Errorf("schema: %s: %w", d, err)
	}
	url := "schema:///" + d.Path()
	if err := compiler.AddResource(url, parsed); err != nil {
		return nil, fmt.Errorf("schema: %s: %w", d, err)
	}
	compiled, err := compiler.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("schema: %s: %w", d, err)
	}
	return compiled, nil
}

// most is how many places an error names.
const most = 5

// places says what is wrong where, without the values: they may be nobody's
// business, and errors end up in logs.
func places(err *jsonschema.ValidationError) (all []string) {
	if len(err.Causes) == 0 {
		return []string{pointer(err.InstanceLocation) + ": " + reason(err.ErrorKind)}
	}
	for _, cause := range err.Causes {
		all = append(all, places(cause)...)
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > most {
		all = append(all[:most], "and more")
	}
	return all
}

func pointer(location []string) string {
	var p jsontext.Pointer
	for _, token := range location {
		p = p.AppendToken(token)
	}
	return cmp.Or(string(p), "the payload")
}

func reason(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("is %s, want %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Required:
		return "misses " + quoted(k.Missing)
	case *kind.AdditionalProperties:
		return "has the unknown " + quoted(k.Properties)
	case *kind.Enum:
		want, _ := json.Marshal(k.Want) // from a schema
		return "is none of " + string(want)
	case *kind.Const:
		want, _ := json.Marshal(k.Want) // from a schema
		return "is not " + string(want)
	case *kind.Format:
		return "is not of the format " + k.Want
	case *kind.Pattern:
		return "doesn't match the pattern " + k.Want
	case *kind.Minimum:
		return "is below " + k.Want.RatString()
	case *kind.Maximum:
		return "is above " + k.Want.RatString()
	case *kind.ExclusiveMinimum:
		return "is not above " + k.Want.RatString()
	case *kind.ExclusiveMaximum:
		return "is not below " + k.Want.RatString()
	case *kind.MinLength:
		return fmt.Sprintf("has %d characters, want %d or more", k.Got, k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("has %d characters, want %d or fewer", k.Got, k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("has %d items, want %d or more", k.Got, k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("has %d items, want %d or fewer", k.Got, k.Want)
	}
	return "violates " + strings.Join(k.KeywordPath(), "/")
}

func quoted(names []string) string {
	for i, name := range names {
		names[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(names, ", ")
}
