package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/pmezard/go-difflib/difflib"
)

// edit replaces the bytes from begin to end of a text.
type edit struct {
	begin, end int
	text       string
}

// apply makes the edits, which don't overlap. Insertions at one place keep
// their order.
func apply(text []byte, edits []edit) []byte {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b edit) int { return a.begin - b.begin })
	var out []byte
	done := 0
	for _, e := range edits {
		out = append(append(out, text[done:e.begin]...), e.text...)
		done = e.end
	}
	return append(out, text[done:]...)
}

// renames are the edits that give the types under n their new names.
func (f *file) renames(n ast.Node, names map[string]string) (edits []edit) {
	typeNames(n, func(id *ast.Ident) {
		if name := names[id.Name]; name != "" {
			edits = append(edits, edit{f.offset(id.Pos()), f.offset(id.End()), name})
		}
	})
	return edits
}

// renamed is the source of n with new names for its types.
func (f *file) renamed(n ast.Node, names map[string]string) string {
	begin, end := f.offset(n.Pos()), f.offset(n.End())
	edits := f.renames(n, names)
	for i := range edits {
		edits[i].begin -= begin
		edits[i].end -= begin
	}
	return string(apply(f.text[begin:end], edits))
}

// appendTo adds an element to a composite literal: on a line of its own if the
// closing brace has one.
func (f *file) appendTo(l *ast.CompositeLit, element string) {
	switch {
	case len(l.Elts) == 0:
		f.insert(l.Rbrace, element)
	case f.pos.Line(l.Elts[len(l.Elts)-1].End()) < f.pos.Line(l.Rbrace):
		f.insert(l.Rbrace, element+",\n")
	default:
		f.insert(l.Elts[len(l.Elts)-1].End(), ", "+element)
	}
}

// change is a file with its new text.
type change struct {
	path     string // in the repository
	old, new []byte // old is nil if the file is new
}

// changes are the files that have edits, with the edits made.
func (e *events) changes() ([]change, error) {
	var all []change
	for _, f := range e.files {
		if len(f.edits) == 0 {
			continue
		}
		text, err := format.Source(apply(f.text, f.edits))
		if err != nil {
			return nil, fmt.Errorf("%s would not be Go any more: %w", f.path, err)
		}
		all = append(all, change{f.path, f.text, text})
	}
	return all, nil
}

// write replaces all the files or none: each is on the disk before the first is
// put in its place.
func write(dir string, changes []change) (err error) {
	paths := make([]string, len(changes))
	for i, c := range changes {
		paths[i] = filepath.Join(dir, filepath.FromSlash(c.path))
		mode := os.FileMode(0o644)
		if info, err := os.Stat(paths[i]); err == nil {
			mode = info.Mode().Perm()
		}
		defer os.Remove(paths[i] + ".new") // not there any more if all went well
		if err := os.WriteFile(paths[i]+".new", c.new, mode); err != nil {
			return err
		}
	}
	for i := range changes {
		if err := os.Rename(paths[i]+".new", paths[i]); err != nil {
			return errors.Join(err, putBack(paths[:i], changes))
		}
	}
	return nil
}

func putBack(paths []string, changes []change) error {
	var problems []error
	for i, path := range paths {
		if changes[i].old == nil {
			problems = append(problems, os.Remove(path))
		} else {
			problems = append(problems, os.WriteFile(path, changes[i].old, 0o644)) // keeps the mode
		}
	}
	return errors.Join(problems...)
}

// diff prints the changes for a person to read.
func diff(w io.Writer, changes []change) error {
	for _, c := range changes {
		from := c.path
		if c.old == nil {
			from = os.DevNull
		}
		if err := difflib.WriteUnifiedDiff(w, difflib.UnifiedDiff{
			A: lines(c.old), B: lines(c.new), FromFile: from, ToFile: c.path, Context: 2,
		}); err != nil {
			return err
		}
	}
	return nil
}

func lines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	all := difflib.SplitLines(string(text))
	return all[:len(all)-1] // it adds an empty one
}
