package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// step is the step of an event type from its version to the next.
type step struct {
	now, then *events
	entry     *entry // as it is now
	was       *entry // as it was committed, at the same version
	kept      string // what the payload type of the version is called from now on

	order []string          // the types to keep, the payload type first
	names map[string]string // what they are called from now on

	decisions []string // fields that the developer must look at
	notes     []string
}

func newStep(now, then *events, entry, was *entry) *step {
	s := &step{now: now, then: then, entry: entry, was: was, kept: fmt.Sprintf("%sV%d", entry.payload, entry.version)}
	s.names = map[string]string{was.payload: s.kept}
	// A type that contains a kept one has to be kept as well.
	reached := then.reach(was.payload)
	for again := true; again; {
		again = false
		for _, name := range reached {
			if s.names[name] == "" && (s.changed(name) || mentions(then.types[name].spec.Type, s.names)) {
				s.names[name] = fmt.Sprintf("%sV%d", name, entry.version)
				again = true
			}
		}
	}
	for _, name := range reached {
		if s.names[name] != "" {
			s.order = append(s.order, name)
		}
	}
	s.names[entry.payload] = s.kept // if it has been renamed
	return s
}

// changed reports whether a type's declaration is another one by now.
func (s *step) changed(name string) bool {
	then, now := s.then.types[name], s.now.types[name]
	return now.spec == nil || tokens(then.file.source(then.spec)) != tokens(now.file.source(now.spec))
}

// plan makes all edits.
func (s *step) plan() error {
	copies, err := s.copies()
	if err != nil {
		return err
	}
	home := s.now.types[s.entry.payload].file
	end := s.familyEnd(home)
	home.edits = append(home.edits, edit{end, end, copies + s.upcaster()})
	if err := s.imports(home); err != nil {
		return err
	}
	if err := s.redirect(); err != nil {
		return err
	}
	s.catalog()
	s.alsoChanged()
	return nil
}

// copies is the source of the types to keep.
func (s *step) copies() (string, error) {
	var out strings.Builder
	for i, name := range s.order {
		t, kept := s.then.types[name], s.names[name]
		declaration := t.file.renamed(t.spec, s.names)
		if existing, ok := s.now.types[kept]; ok {
			if i > 0 && tokens(existing.file.source(existing.spec)) == tokens(declaration) {
				continue // another event type has kept it
			}
			return "", fmt.Errorf("%s: %s exists already: rename it, it is what version %d is to be called", existing.file.at(existing.spec), kept, s.entry.version)
		}
		s.noteEmbedded(t)
		if s.then.reads(name) {
			s.notes = append(s.notes, fmt.Sprintf("%s has JSON of its own: copy the methods that read it for %s.", name, kept))
		}
		doc := fmt.Sprintf("%s is version %d of %s, until version %d.", kept, s.entry.version, s.entry.payload, s.entry.version+1)
		if i > 0 {
			doc = fmt.Sprintf("%s is the %s of %s.", kept, name, s.kept)
		}
		if said := t.doc.Text(); said != "" {
			doc += "\n\n" + said
		}
		fmt.Fprintf(&out, "\n%stype %s\n", comment(doc), declaration)
	}
	return out.String(), nil
}

// noteEmbedded says where a field has a new name because its type has one.
func (s *step) noteEmbedded(t typeDecl) {
	of, ok := t.structType()
	if !ok {
		return
	}
	for _, f := range of.Fields.List {
		if name := baseName(f.Type); f.Names == nil && mentions(f.Type, s.names) {
			s.notes = append(s.notes, fmt.Sprintf("The field %s of %s is called %s, since it is embedded: correct the code that uses it.",
				name, s.names[t.spec.Name.Name], s.names[name]))
		}
	}
}

func comment(text string) string {
	var out strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		out.WriteString(strings.TrimRight("// "+strings.TrimRight(line, "\n"), " ") + "\n")
	}
	return out.String()
}

// field is a field of a payload type.
type field struct {
	name     string
	typ      ast.Expr
	tokens   string // of its type
	optional bool   // may be missing in JSON
}

func (e *events) fields(payload string) (all []field) {
	s, _ := e.structOf(payload)
	for _, f := range s.Fields.List {
		names := f.Names
		if names == nil {
			names = []*ast.Ident{ast.NewIdent(baseName(f.Type))}
		}
		tag := jsonTag(f)
		for _, name := range names {
			if name.Name != "_" {
				all = append(all, field{name.Name, f.Type, tokens(e.types[payload].file.source(f.Type)),
					tag == "-" || strings.Contains(tag, ",omit") || !name.IsExported()})
			}
		}
	}
	return all
}

func find(fields []field, name string) *field {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return &fields[i]
}

// upcaster is the source of the new upcaster. It carries over the fields that
// have stayed what they were; the others become decisions.
func (s *step) upcaster() string {
	before, after := s.then.fields(s.was.payload), s.now.fields(s.entry.payload)
	var set strings.Builder
	for _, f := range after {
		old := find(before, f.name)
		typ := types.ExprString(f.typ)
		switch {
		case old == nil && f.optional:
			s.decide("%s %s is new and may stay empty: set it if the old event says it", f.name, typ)
		case old == nil:
			s.decide("%s %s is new: set it from the old event or to a default, or give it omitempty", f.name, typ)
		case old.tokens != f.tokens:
			s.decide("%s was %s and is %s: convert it", f.name, types.ExprString(old.typ), typ)
		case mentions(old.typ, s.names):
			s.decide("%s is still %s, but that has changed: convert it from what was kept", f.name, typ)
		default:
			fmt.Fprintf(&set, "\t\t%s: old.%s,\n", f.name, f.name)
		}
	}
	for _, f := range before {
		if find(after, f.name) == nil {
			s.decide("%s %s is gone: is it what a new field holds?", f.name, types.ExprString(f.typ))
		}
	}
	decisions := ""
	if len(s.decisions) > 0 {
		decisions = "\t// Decide on each of these, then remove its line:\n"
		for _, d := range s.decisions {
			decisions += "\t// - " + d + "\n"
		}
	}
	return fmt.Sprintf("\n// upcast makes version %d of version %d.\nfunc (old %s) upcast() (%s, error) {\n%s\treturn %s{\n%s\t}, nil\n}\n",
		s.entry.version+1, s.entry.version, s.kept, s.entry.payload, decisions, s.entry.payload, set.String())
}

func (s *step) decide(format string, args ...any) {
	s.decisions = append(s.decisions, fmt.Sprintf(format, args...))
}

var (
	versionSuffix = regexp.MustCompile(`^V[0-9]+$`)
	pathVersion   = regexp.MustCompile(`^v[0-9]+$`)
)

// familyEnd is where the payload type's file has the last of what belongs to the
// type: its older versions, and the methods of all.
func (s *step) familyEnd(f *file) (end int) {
	member := func(name string) bool {
		rest, ok := strings.CutPrefix(name, s.entry.payload)
		return ok && (rest == "" || versionSuffix.MatchString(rest))
	}
	for _, d := range f.ast.Decls {
		belongs := false
		switch d := d.(type) {
		case *ast.FuncDecl:
			belongs = d.Recv != nil && len(d.Recv.List) > 0 && member(baseName(d.Recv.List[0].Type))
		case *ast.GenDecl:
			belongs = slices.ContainsFunc(d.Specs, func(s ast.Spec) bool {
				t, ok := s.(*ast.TypeSpec)
				return ok && member(t.Name.Name)
			})
		}
		if belongs {
			end = f.offset(d.End())
		}
	}
	if rest := strings.IndexByte(string(f.text[end:]), '\n'); rest >= 0 {
		return end + rest + 1
	}
	return len(f.text)
}

// redirect lets the older versions use what was kept: their upcasters, and the
// types that only they are made of.
func (s *step) redirect() error {
	last, found := s.entry.upcasterFrom(s.entry.version - 1)
	if len(s.entry.upcasters) > 0 && !found {
		return fmt.Errorf("%s: event type %q has no upcaster from version %d: add it first", s.entry.file.at(s.entry.list), s.entry.name, s.entry.version-1)
	}
	if then, ok := s.was.upcasterFrom(s.entry.version - 1); found && ok && last.calls.decl != nil && then.calls.decl != nil &&
		tokens(then.calls.file.source(then.calls.decl)) != tokens(last.calls.file.source(last.calls.decl)) {
		s.notes = append(s.notes, fmt.Sprintf("%s differs from the one in %s: see to it that it makes %s now.", functionName(last.calls.decl), s.then.of, s.kept))
	}
	var older []string
	for _, u := range s.entry.upcasters {
		older = append(older, u.from)
		s.entry.file.edits = append(s.entry.file.edits, s.entry.file.renames(u.call, s.names)...)
		if f := u.calls.file; f != nil {
			f.edits = append(f.edits, f.renames(u.calls.decl, s.names)...)
		}
	}
	current := s.now.reach(s.entry.payload)
	for _, name := range s.now.reach(older...) {
		if t := s.now.types[name]; !slices.Contains(current, name) && s.names[name] == "" {
			t.file.edits = append(t.file.edits, t.file.renames(t.spec.Type, s.names)...)
		}
	}
	return nil
}

// catalog raises the version and adds the upcaster.
func (s *step) catalog() {
	f, e := s.entry.file, s.entry
	f.replace(e.versionAt, strconv.Itoa(e.version+1))
	call := fmt.Sprintf("envelope.Upcast(%d, %s.upcast)", e.version, s.kept)
	if e.list != nil {
		f.appendTo(e.list, call)
	} else {
		f.appendTo(e.literal, "Upcasters: []envelope.Upcaster{"+call+"}")
	}
}

// imports adds to the file what the kept types need.
func (s *step) imports(home *file) error {
	var add []*ast.ImportSpec
	for _, name := range s.order {
		t := s.then.types[name]
		var err error
		ast.Inspect(t.spec.Type, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			needed, has := t.file.importOf(baseName(selector.X)), home.importOf(baseName(selector.X))
			switch {
			case needed == nil:
			case has == nil && !slices.ContainsFunc(add, func(i *ast.ImportSpec) bool { return i.Path.Value == needed.Path.Value }):
				add = append(add, needed)
			case has != nil && has.Path.Value != needed.Path.Value:
				err = fmt.Errorf("%s: %s is %s here, but %s needs %s: name one of them differently", home.at(has), baseName(selector.X), has.Path.Value, s.names[name], needed.Path.Value)
			}
			return false
		})
		if err != nil {
			return err
		}
	}
	for _, i := range add {
		home.addImport(i)
	}
	return nil
}

// importOf returns the import that the file calls by this name. Without a name
// of its own, it goes by the last part of the path that isn't a version.
func (f *file) importOf(name string) *ast.ImportSpec {
	for _, i := range f.ast.Imports {
		of, _ := text(i.Path)
		if pathVersion.MatchString(path.Base(of)) {
			of = path.Dir(of)
		}
		if (i.Name != nil && i.Name.Name == name) || (i.Name == nil && path.Base(of) == name) {
			return i
		}
	}
	return nil
}

func (f *file) addImport(i *ast.ImportSpec) {
	line := i.Path.Value
	if i.Name != nil {
		line = i.Name.Name + " " + line
	}
	for _, d := range f.ast.Decls {
		if group, ok := d.(*ast.GenDecl); ok && group.Tok == token.IMPORT && group.Lparen.IsValid() {
			f.insert(group.Lparen+1, "\n"+line)
			return
		}
	}
	f.insert(f.ast.Name.End(), "\n\nimport "+line)
}
