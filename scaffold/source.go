package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// eventsDir is the package of the event types, as a path in the repository.
const eventsDir = "internal/events"

// file is a Go file and the edits to be made to it.
type file struct {
	path  string // in the repository
	text  []byte
	ast   *ast.File
	pos   *token.File
	edits []edit
}

func (f *file) offset(p token.Pos) int       { return f.pos.Offset(p) }
func (f *file) source(n ast.Node) string     { return string(f.text[f.offset(n.Pos()):f.offset(n.End())]) }
func (f *file) at(n ast.Node) string         { return fmt.Sprintf("%s:%d", f.path, f.pos.Line(n.Pos())) }
func (f *file) replace(n ast.Node, s string) { f.edit(n.Pos(), n.End(), s) }
func (f *file) insert(p token.Pos, s string) { f.edit(p, p, s) }
func (f *file) edit(from, to token.Pos, s string) {
	f.edits = append(f.edits, edit{f.offset(from), f.offset(to), s})
}

// typeDecl is a type's declaration.
type typeDecl struct {
	file *file
	spec *ast.TypeSpec
	doc  *ast.CommentGroup
}

// function is a function's or method's declaration.
type function struct {
	file *file
	decl *ast.FuncDecl
}

// events is the package of the event types as it is in the tree or was in a
// commit, without its tests.
type events struct {
	of        string // the commit as the user named it, empty for the tree
	files     []*file
	types     map[string]typeDecl
	functions map[string]function // methods as Type.name
}

// isSource leaves out the tests, and what go build ignores.
func isSource(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && name[0] != '.' && name[0] != '_'
}

// parseEvents parses the files, by name.
func parseEvents(of string, texts map[string][]byte) (*events, error) {
	e := &events{of: of, types: map[string]typeDecl{}, functions: map[string]function{}}
	fset := token.NewFileSet()
	for name, text := range texts {
		shown, fix := path.Join(eventsDir, name), "correct it first"
		if of != "" {
			shown, fix = of+":"+shown, "name another commit with --from"
		}
		parsed, err := parser.ParseFile(fset, shown, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, fix) // the error names the file
		}
		e.files = append(e.files, &file{path: shown, text: text, ast: parsed, pos: fset.File(parsed.FileStart)})
	}
	slices.SortFunc(e.files, func(a, b *file) int { return strings.Compare(a.path, b.path) })
	for _, f := range e.files {
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				e.functions[functionName(d)] = function{f, d}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if spec, ok := s.(*ast.TypeSpec); ok {
						doc := spec.Doc
						if doc == nil && !d.Lparen.IsValid() {
							doc = d.Doc
						}
						e.types[spec.Name.Name] = typeDecl{f, spec, doc}
					}
				}
			}
		}
	}
	return e, nil
}

// functionName is Type.name for a method.
func functionName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name
	}
	return baseName(d.Recv.List[0].Type) + "." + d.Name.Name
}

// baseName is the name of a type without pointers, package and parameters:
// what an embedded field is called.
func baseName(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.Ident:
		return t.Name
	case *ast.StarExpr:
		return baseName(t.X)
	case *ast.ParenExpr:
		return baseName(t.X)
	case *ast.SelectorExpr:
		return t.Sel.Name
	case *ast.IndexExpr:
		return baseName(t.X)
	case *ast.IndexListExpr:
		return baseName(t.X)
	}
	return ""
}

// readTree reads the package as it is now.
func readTree(dir string) (*events, error) {
	for _, needed := range []string{"go.mod", eventsDir} {
		if _, err := os.Stat(filepath.Join(dir, needed)); err != nil {
			return nil, fmt.Errorf("there is no %s here: run this in the root of the service's repository (%w)", needed, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, eventsDir))
	if err != nil {
		return nil, err
	}
	texts := map[string][]byte{}
	for _, entry := range entries {
		if name := entry.Name(); isSource(name) {
			if texts[name], err = os.ReadFile(filepath.Join(dir, eventsDir, name)); err != nil {
				return nil, err
			}
		}
	}
	return parseEvents("", texts)
}

// readCommitted reads the package as it was in a commit, HEAD unless another is
// named. It returns now if there is no repository or no commit to look into.
func readCommitted(dir, commit string, now *events) (*events, error) {
	name := commit
	if commit == "" {
		name = "HEAD"
		if !inRepository(dir) {
			return now, nil
		}
	}
	hash, err := git(dir, "rev-parse", "--quiet", "--verify", "--end-of-options", name+"^{commit}")
	switch {
	case errors.Is(err, errNoCommit) && commit == "":
		return now, nil
	case errors.Is(err, errNoCommit):
		return nil, fmt.Errorf("--from %q: %w: name a commit, branch or tag", commit, err)
	case err != nil:
		return nil, err
	}
	hash = strings.TrimSpace(hash)
	listed, err := git(dir, "ls-tree", "-z", "--name-only", hash, eventsDir+"/")
	if err != nil {
		return nil, err
	}
	texts := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimSuffix(listed, "\x00"), "\x00") {
		if !isSource(path.Base(name)) {
			continue
		}
		text, err := git(dir, "show", hash+":./"+name)
		if err != nil {
			return nil, err
		}
		texts[path.Base(name)] = []byte(text)
	}
	return parseEvents(name, texts)
}

// reach lists the package's types that a value of these types can contain, they
// themselves first.
func (e *events) reach(names ...string) []string {
	var reached []string
	var visit func(string)
	visit = func(name string) {
		if t, ok := e.types[name]; ok && !slices.Contains(reached, name) {
			reached = append(reached, name)
			typeNames(t.spec.Type, func(id *ast.Ident) { visit(id.Name) })
		}
	}
	for _, name := range names {
		visit(name)
	}
	return reached
}

// typeNames calls f with every name in n that can be one of this package's
// types: not with those of fields and methods, nor with what another package
// declares.
func typeNames(n ast.Node, f func(*ast.Ident)) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			f(n)
		case *ast.SelectorExpr:
			typeNames(n.X, f)
			return false
		case *ast.Field:
			typeNames(n.Type, f)
			return false
		case *ast.KeyValueExpr:
			if _, isField := n.Key.(*ast.Ident); !isField {
				typeNames(n.Key, f)
			}
			typeNames(n.Value, f)
			return false
		}
		return true
	})
}

// mentions reports whether a type's expression has one of the names in it.
func mentions(n ast.Node, names map[string]string) (found bool) {
	typeNames(n, func(id *ast.Ident) { found = found || names[id.Name] != "" })
	return found
}

// tokens is Go source without comments and layout: two texts of the same tokens
// mean the same.
func tokens(source string) string {
	var s scanner.Scanner
	fset := token.NewFileSet()
	s.Init(fset.AddFile("", -1, len(source)), []byte(source), nil, 0)
	var all []string
	for {
		_, t, literal := s.Scan()
		switch {
		case t == token.EOF:
			return strings.Join(all, " ")
		case t == token.SEMICOLON || literal == "":
			literal = t.String()
		}
		all = append(all, literal)
	}
}
