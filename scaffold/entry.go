package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// entry is an event type in the catalog, as the source has it.
type entry struct {
	file      *file
	literal   *ast.CompositeLit // envelope.Type[T]{…}
	name      string
	payload   string // T
	version   int
	versionAt ast.Node
	list      *ast.CompositeLit // the Upcasters; nil if there are none
	upcasters []upcaster
}

// upcaster is an element of Upcasters.
type upcaster struct {
	version int
	from    string        // the payload type of that version
	call    *ast.CallExpr // in the entry's file
	calls   function      // what it names; without a decl if it is written in the call
}

// literals returns all event types whose name is written in the source, in
// order. Only their file, literal and name are set.
func (e *events) literals() []*entry {
	var all []*entry
	for _, f := range e.files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if literal, ok := n.(*ast.CompositeLit); ok {
				_, isType := payloadOf(literal)
				if name, ok := text(value(literal, "Name")); isType && ok {
					all = append(all, &entry{file: f, literal: literal, name: name})
				}
			}
			return true
		})
	}
	slices.SortFunc(all, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	return all
}

// entry returns the event type of this name. The error is errNotFound if there
// is none, or says what the scaffold can't read.
func (e *events) entry(name string) (*entry, error) {
	var names []string
	for _, l := range e.literals() {
		if l.name == name {
			return l, e.read(l)
		}
		names = append(names, l.name)
	}
	there := "there are " + strings.Join(names, ", ")
	if len(names) == 0 {
		there = "there is none at all: declare it as an envelope.Type in the catalog, its Name in quotes"
	}
	return nil, fmt.Errorf("event type %q: %w in %s: %s", name, errNotFound, e.where(), there)
}

// where names the package in messages.
func (e *events) where() string {
	if e.of != "" {
		return e.of + ":" + eventsDir
	}
	return eventsDir
}

// read reads the parts of an entry's literal.
func (e *events) read(of *entry) error {
	wrong := func(n ast.Node, format string, args ...any) error {
		return fmt.Errorf("%s: event type %q: "+format, append([]any{of.file.at(n), of.name}, args...)...)
	}
	payload, _ := payloadOf(of.literal)
	name, ok := payload.(*ast.Ident)
	if ok {
		_, ok = e.structOf(name.Name)
	}
	if !ok {
		return wrong(payload, "its payload %s is not an exported struct declared in %s: declare one there", of.file.source(payload), e.where())
	}
	of.payload = name.Name
	version := value(of.literal, "Version")
	number, ok := number(version)
	if !ok || number < 1 {
		return wrong(of.literal, "its Version is not a number from 1 in the source: write one")
	}
	of.version, of.versionAt = number, version
	declared := value(of.literal, "Upcasters")
	if declared == nil {
		return nil
	}
	if of.list, ok = declared.(*ast.CompositeLit); !ok {
		return wrong(declared, "its Upcasters are %s: write them as a list, []envelope.Upcaster{…}", of.file.source(declared))
	}
	for _, element := range of.list.Elts {
		u, ok := e.upcaster(element)
		if !ok {
			return wrong(element, "%s is not an upcaster that can be followed: write it as envelope.Upcast(<version>, <Type>.upcast)", of.file.source(element))
		}
		of.upcasters = append(of.upcasters, u)
	}
	return nil
}

// upcaster reads envelope.Upcast(1, OrderPlacedV1.upcast). The function can also
// be one without a receiver, or be written in the call.
func (e *events) upcaster(element ast.Expr) (u upcaster, ok bool) {
	call, ok := element.(*ast.CallExpr)
	if !ok || baseName(call.Fun) != "Upcast" || len(call.Args) != 2 {
		return u, false
	}
	u.call = call
	if u.version, ok = number(call.Args[0]); !ok {
		return u, false
	}
	switch f := call.Args[1].(type) {
	case *ast.FuncLit:
		u.from = firstParameter(f.Type)
	case *ast.Ident:
		if u.calls, ok = e.functions[f.Name]; ok {
			u.from = firstParameter(u.calls.decl.Type)
		}
	case *ast.SelectorExpr:
		u.from = baseName(f.X)
		u.calls = e.functions[u.from+"."+f.Sel.Name]
		ok = u.calls.decl != nil
	}
	return u, ok && u.from != ""
}

func firstParameter(f *ast.FuncType) string {
	if len(f.Params.List) == 0 {
		return ""
	}
	return baseName(f.Params.List[0].Type)
}

// upcasterFrom returns the upcaster from this version.
func (of *entry) upcasterFrom(version int) (upcaster, bool) {
	i := slices.IndexFunc(of.upcasters, func(u upcaster) bool { return u.version == version })
	if i < 0 {
		return upcaster{}, false
	}
	return of.upcasters[i], true
}

// structOf returns the exported struct of this name.
func (e *events) structOf(name string) (*ast.StructType, bool) {
	t, ok := e.types[name]
	if !ok || !ast.IsExported(name) || t.spec.Assign.IsValid() || t.spec.TypeParams != nil {
		return nil, false
	}
	s, ok := t.spec.Type.(*ast.StructType)
	return s, ok
}

// payloadOf returns the T of an envelope.Type[T]{…}.
func payloadOf(l *ast.CompositeLit) (ast.Expr, bool) {
	index, ok := l.Type.(*ast.IndexExpr)
	if !ok {
		return nil, false
	}
	of, ok := index.X.(*ast.SelectorExpr)
	if !ok || of.Sel.Name != "Type" || baseName(of.X) != "envelope" {
		return nil, false
	}
	return index.Index, true
}

// value returns what a composite literal sets the field to, nil if it doesn't.
func value(l *ast.CompositeLit, field string) ast.Expr {
	for _, element := range l.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok && baseName(pair.Key) == field {
			return pair.Value
		}
	}
	return nil
}

func text(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

func number(e ast.Expr) (int, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.INT {
		return 0, false
	}
	n, err := strconv.Atoi(l.Value)
	return n, err == nil
}
