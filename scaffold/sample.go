package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// sampler makes up the JSON of a type, every field set and different.
type sampler struct {
	of      *events
	n       int      // numbers given so far
	open    []string // types being made, so that one in itself ends
	unknown []string // fields whose JSON it doesn't know, which are null
}

func (s *sampler) number() string {
	s.n++
	return strconv.Itoa(s.n)
}

// value is the JSON of a type; name is that of the field it is for.
func (s *sampler) value(t ast.Expr, name string) string {
	switch t := t.(type) {
	case *ast.Ident:
		return s.named(t.Name, name)
	case *ast.ParenExpr:
		return s.value(t.X, name)
	case *ast.StarExpr:
		return s.value(t.X, name)
	case *ast.StructType:
		return s.object(t)
	case *ast.ArrayType:
		if element := baseName(t.Elt); t.Len == nil && (element == "byte" || element == "uint8") {
			return `"Ynl0ZXM="`
		}
		items := []string{s.value(t.Elt, name)}
		if length, ok := t.Len.(*ast.BasicLit); ok {
			n, _ := strconv.Atoi(length.Value) // of another form: one item, and the test says what is wrong
			for len(items) < n {
				items = append(items, s.value(t.Elt, name))
			}
		}
		return "[" + strings.Join(items, ",") + "]"
	case *ast.MapType:
		key := s.value(t.Key, name)
		if key[0] != '"' {
			key = strconv.Quote(key)
		}
		return "{" + key + ":" + s.value(t.Value, name) + "}"
	case *ast.InterfaceType:
		if len(t.Methods.List) == 0 {
			return strconv.Quote(name)
		}
	case *ast.SelectorExpr:
		switch baseName(t.X) + "." + t.Sel.Name {
		case "time.Time":
			s.n++
			return fmt.Sprintf(`"2026-03-01T12:30:%02dZ"`, s.n%60)
		case "time.Duration":
			return s.number()
		case "json.RawMessage":
			return strconv.Quote(name)
		case "uuid.UUID":
			s.n++
			return fmt.Sprintf(`"019aa000-0000-7000-8000-%012d"`, s.n)
		}
	}
	s.unknown = append(s.unknown, name)
	return "null"
}

func (s *sampler) named(typ, name string) string {
	if t, ok := s.of.types[typ]; ok {
		if slices.Contains(s.open, typ) {
			return "null"
		}
		if s.of.reads(typ) {
			s.unknown = append(s.unknown, name)
			return "null"
		}
		s.open = append(s.open, typ)
		defer func() { s.open = s.open[:len(s.open)-1] }()
		return s.value(t.spec.Type, name)
	}
	switch typ {
	case "string", "any":
		return strconv.Quote(name)
	case "bool":
		return "true"
	case "float32", "float64":
		return s.number() + ".5"
	case "int", "int8", "int16", "int32", "int64", "rune", "uint", "uint8", "uint16", "uint32", "uint64", "uintptr", "byte":
		return s.number()
	}
	s.unknown = append(s.unknown, name)
	return "null"
}

// reads reports whether the type has JSON of its own.
func (e *events) reads(typ string) bool {
	return e.functions[typ+".UnmarshalJSON"].decl != nil || e.functions[typ+".UnmarshalText"].decl != nil
}

func (s *sampler) object(t *ast.StructType) string {
	return "{" + strings.Join(s.members(t), ",") + "}"
}

func (s *sampler) members(t *ast.StructType) (all []string) {
	for _, f := range t.Fields.List {
		tag, names := jsonTag(f), f.Names
		named, options, _ := strings.Cut(tag, ",")
		if names == nil {
			name := baseName(f.Type)
			inner, isStruct := s.of.types[name].structType()
			if named == "" && isStruct && !s.of.reads(name) {
				all = append(all, s.members(inner)...)
				continue
			}
			names = []*ast.Ident{ast.NewIdent(name)}
		}
		for _, name := range names {
			if tag == "-" || !name.IsExported() {
				continue
			}
			key := name.Name
			if named != "" {
				key = named
			}
			value := s.value(f.Type, key)
			if slices.Contains(strings.Split(options, ","), "string") && s.of.isScalar(f.Type) {
				value = strconv.Quote(value)
			}
			all = append(all, strconv.Quote(key)+":"+value)
		}
	}
	return all
}

func (t typeDecl) structType() (*ast.StructType, bool) {
	if t.spec == nil {
		return nil, false
	}
	s, ok := t.spec.Type.(*ast.StructType)
	return s, ok
}

// isScalar reports whether the option string has an effect on a type.
func (e *events) isScalar(t ast.Expr) bool {
	switch t := t.(type) {
	case *ast.StarExpr:
		return e.isScalar(t.X)
	case *ast.Ident:
		if declared, ok := e.types[t.Name]; ok {
			return !e.reads(t.Name) && e.isScalar(declared.spec.Type)
		}
		return t.Name != "any" && t.Name != "error"
	}
	return false
}

// jsonTag is the field's json tag.
func jsonTag(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, _ := text(f.Tag)
	return reflect.StructTag(tag).Get("json")
}

// test is the source of the test of the new upcaster.
func (s *step) test(module string) ([]byte, error) {
	sampler := sampler{of: s.then}
	var data bytes.Buffer
	if err := json.Indent(&data, []byte(sampler.named(s.was.payload, "")), "\t", "\t"); err != nil {
		return nil, fmt.Errorf("an event of %s can't be made up: %w", s.was.payload, err)
	}
	for _, field := range sampler.unknown {
		s.notes = append(s.notes, fmt.Sprintf("Give %q a value in the test's event: the scaffold doesn't know its JSON.", field))
	}
	return format.Source(fmt.Appendf(nil, testSource, module, s.kept, s.entry.version, s.entry.payload, s.entry.name, data.String()))
}

const testSource = `package events_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"%[1]s/internal/events"
	"%[1]s/internal/infra/envelope"
)

// Test%[2]sIsUpcast reads an event of version %[3]d. What %[4]s still
// has must arrive as it was, and what is new must be set unless it is optional.
func Test%[2]sIsUpcast(t *testing.T) {
	t.Parallel()
	data := json.RawMessage(` + "`%[6]s`" + `)
	var old events.%[2]s
	require.NoError(t, json.Unmarshal(data, &old))
	catalog, err := events.Catalog()
	require.NoError(t, err)
	got, err := catalog.Decode(envelope.Envelope{
		Header: envelope.Header{ID: "1", Type: "%[5]s", SchemaVersion: %[3]d},
		Data:   data,
	})
	require.NoError(t, err)

	// Name here the fields that are rightly empty or mean something else now,
	// and check them by themselves.
	checked := []string{}
	for field, value := range reflect.ValueOf(got).Fields() {
		was, tag := reflect.ValueOf(old).FieldByName(field.Name), field.Tag.Get("json")
		switch {
		case !field.IsExported() || tag == "-" || slices.Contains(checked, field.Name):
		case was.IsValid() && was.Type() == field.Type:
			require.False(t, was.IsZero(), "give %%s a value in the event above", field.Name)
			require.Equal(t, was.Interface(), value.Interface(), "%%s is not what it was in version %[3]d", field.Name)
		case !strings.Contains(tag, ",omit"):
			require.False(t, value.IsZero(), "%%s is empty: set it in an upcaster from version %[3]d on", field.Name)
		}
	}
}
`
