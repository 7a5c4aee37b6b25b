package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/google/uuid"
	"github.com/invopop/jsonschema"

	"example.com/millwright/internal/infra/envelope"
)

// Generate makes the documents of all versions that the catalog's types can still
// read. With the directory of their Go files, doc comments become descriptions.
func Generate(catalog *envelope.Catalog, source string) ([]*Document, error) {
	comments, err := readComments(source)
	if err != nil {
		return nil, err
	}
	var documents []*Document
	for _, entry := range catalog.Types() {
		for version := entry.OldestVersion(); version <= entry.Version; version++ {
			payload := entry.PayloadOf(version)
			if problem := unfit(payload, "", map[reflect.Type]bool{}); problem != "" {
				return nil, fmt.Errorf("schema: %s v%d: %s", entry.Name, version, problem)
			}
			d := &Document{Type: entry.Name, Version: version, Topic: entry.Topic, Key: keyOf(entry, version), Schema: reflectSchema(payload, comments)}
			d.Schema.Title = fmt.Sprintf("%s v%d", entry.Name, version)
			documents = append(documents, d)
		}
	}
	return documents, nil
}

// comments finds the doc comment of a type, or of its field.
type comments func(t reflect.Type, field string) string

func readComments(source string) (comments, error) {
	if source == "" {
		return nil, nil
	}
	var r jsonschema.Reflector
	if err := r.AddGoComments("", source, jsonschema.WithFullComment()); err != nil {
		return nil, fmt.Errorf("schema: read the doc comments: %w", err)
	}
	dir := filepath.ToSlash(filepath.Clean(source))
	return func(t reflect.Type, field string) string {
		key := dir + "." + t.Name()
		if field != "" {
			key += "." + field
		}
		return strings.Join(strings.Fields(r.CommentMap[key]), " ")
	}, nil
}

func reflectSchema(t reflect.Type, comments comments) *jsonschema.Schema {
	whole := !recursive(t, nil) // in one piece it is easier to read
	r := jsonschema.Reflector{Anonymous: true, ExpandedStruct: whole, DoNotReference: whole, Mapper: basic, LookupComment: comments}
	s := r.ReflectFromType(t)
	if len(s.Definitions) == 0 {
		s.Definitions = nil
	}
	return s
}

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	ownSchema     = reflect.TypeFor[interface{ JSONSchema() *jsonschema.Schema }]()
)

func implements(t, what reflect.Type) bool {
	return t.Implements(what) || reflect.PointerTo(t).Implements(what)
}

// bounds of the integers that are narrower than JSON's readers take for granted:
// an int32 that becomes an int16 is a change that the check has to see.
var bounds = map[reflect.Kind][2]json.Number{
	reflect.Int8:  {"-128", "127"},
	reflect.Int16: {"-32768", "32767"},
	reflect.Int32: {"-2147483648", "2147483647"},
	reflect.Uint8: {"0", "255"}, reflect.Uint16: {"0", "65535"}, reflect.Uint32: {"0", "4294967295"},
	reflect.Uint: {"0"}, reflect.Uint64: {"0"},
}

// basic is the schema of what is a single value in JSON, or nil.
func basic(t reflect.Type) *jsonschema.Schema {
	if b, ok := bounds[t.Kind()]; ok && !implements(t, textMarshaler) {
		return &jsonschema.Schema{Type: "integer", Minimum: b[0], Maximum: b[1]}
	}
	switch {
	case t == reflect.TypeFor[uuid.UUID]():
		return &jsonschema.Schema{Type: "string", Format: "uuid"}
	case t.PkgPath() == "time" || implements(t, ownSchema) || !implements(t, textMarshaler):
		return nil
	}
	return &jsonschema.Schema{Type: "string"}
}

// recursive reports whether a type contains itself.
func recursive(t reflect.Type, within []reflect.Type) bool {
	for _, outer := range within {
		if outer == t {
			return true
		}
	}
	if basic(t) != nil {
		return false
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return recursive(t.Elem(), append(within, t))
	case reflect.Struct:
		for i := range t.NumField() {
			if recursive(t.Field(i).Type, append(within, t)) {
				return true
			}
		}
	}
	return false
}

// unfit says why a type can't be the payload of an event, or nothing: its schema
// would promise something else than what encoding/json writes.
func unfit(t reflect.Type, path string, seen map[reflect.Type]bool) string {
	if seen[t] {
		return ""
	}
	seen[t] = true
	where := strings.TrimPrefix(path, ".")
	if where == "" {
		where = "the payload"
	}
	switch {
	case t == reflect.TypeFor[json.Number]():
		return where + ": a json.Number can be any number: say which, int64 or float64, or write it as a string"
	case basic(t) != nil || implements(t, ownSchema) || t == reflect.TypeFor[json.RawMessage]() || t.PkgPath() == "time":
		return ""
	case implements(t, jsonMarshaler):
		return fmt.Sprintf("%s: %s encodes itself: give it a method JSONSchema() *jsonschema.Schema", where, t)
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer, reflect.Uintptr:
		return fmt.Sprintf("%s: JSON has no %s", where, t)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return fmt.Sprintf("%s: a map needs keys of a string type, not %s", where, t.Key())
		}
		return unfit(t.Elem(), path+"{}", seen)
	case reflect.Pointer:
		return unfit(t.Elem(), path, seen)
	case reflect.Slice, reflect.Array:
		return unfit(t.Elem(), path+"[]", seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if problem := unfitField(t.Field(i), path, seen); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func unfitField(f reflect.StructField, path string, seen map[reflect.Type]bool) string {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case name == "-" && options == "", f.PkgPath != "" && !f.Anonymous:
		return ""
	case f.Anonymous && name == "":
		return unfit(f.Type, path, seen)
	case name == "":
		return strings.TrimPrefix(path+"."+f.Name, ".") + ": name it in a json tag: the name is part of the contract"
	}
	path += "." + name
	optional := strings.Contains(","+options+",", ",omitempty,") || strings.Contains(","+options+",", ",omitzero,")
	nullable := strings.Contains(","+f.Tag.Get("jsonschema")+",", ",nullable,")
	if f.Type.Kind() == reflect.Pointer && !optional && !nullable {
		return strings.TrimPrefix(path, ".") + `: a nil pointer is written as null: add omitempty to its json tag, or the tag jsonschema:"nullable"`
	}
	return unfit(f.Type, path, seen)
}
