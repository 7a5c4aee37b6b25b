package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

type versionCommand struct {
	EventType string `arg:"" help:"Its name in the catalog, such as orders.placed."`
	From      string `placeholder:"COMMIT" help:"The commit that has the current version (default: HEAD)."`
	DryRun    bool   `help:"Print the changes without making them."`
}

// Help is printed by --help.
func (versionCommand) Help() string {
	return `A breaking change to a payload type needs a new version: events of the current one are stored and on their way, and must still be read.

Change the payload type first, then run this, then commit. It:

- keeps the payload type of the last commit as <Type>V<n>, and with it the types that it is made of where they have changed as well (methods are not kept);

- adds its upcaster, which carries over the fields that are still there, and lists in it what you must decide: fields that are new, changed or gone;

- lets the upcaster of the version before lead to <Type>V<n>, and older versions use the types that were kept;

- raises the version in the catalog and adds the upcaster to it;

- adds a test that reads an event of version n and fails while a new field without omitempty is left empty.

Nothing else in your files is changed, and if anything is wrong, nothing at all is. Without git, or with a payload type that has not changed yet, the type is kept as it is now.`
}

// Run implements the command.
func (c versionCommand) Run(in place) error {
	now, err := readTree(in.dir)
	if err != nil {
		return err
	}
	entry, err := now.entry(c.EventType)
	if err != nil {
		return err
	}
	then, err := readCommitted(in.dir, c.From, now)
	if err != nil {
		return err
	}
	was, err := committed(then, entry)
	if err != nil {
		return err
	}
	s := newStep(now, then, entry, was)
	if err := s.plan(); err != nil {
		return err
	}
	changes, err := s.changes(in.dir)
	if err != nil {
		return err
	}
	if c.DryRun {
		err = diff(in.out, changes)
	} else {
		err = write(in.dir, changes)
	}
	if err != nil {
		return err
	}
	s.report(in, changes, c.DryRun)
	return nil
}

// committed returns the event type as the commit has it. It must have the
// version that the tree has: a version that was never committed was never
// published, so nobody needs it kept.
func committed(then *events, entry *entry) (*entry, error) {
	was, err := then.entry(entry.name)
	switch {
	case errors.Is(err, errNotFound):
		return nil, fmt.Errorf("event type %q is not in %s: if nobody publishes it yet, change %s in place; otherwise commit it first, or name the commit that has it with --from",
			entry.name, then.of, entry.payload)
	case err != nil:
		return nil, err
	case was.version != entry.version:
		return nil, fmt.Errorf("event type %q has version %d here and version %d in %s: if nobody publishes version %d yet, change %s in place; otherwise commit it first, or name the commit that has it with --from",
			entry.name, entry.version, was.version, then.of, entry.version, entry.payload)
	}
	return was, nil
}

// changes are all files to write, the new test last.
func (s *step) changes(dir string) ([]change, error) {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	module := modfile.ModulePath(mod)
	if module == "" {
		return nil, errors.New("go.mod has no module line: add one")
	}
	test := path.Join(eventsDir, fmt.Sprintf("%s_v%d_test.go", strings.ReplaceAll(s.entry.name, ".", "_"), s.entry.version))
	if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(test))); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s exists already: rename or remove it", test)
	}
	changes, err := s.now.changes()
	if err != nil {
		return nil, err
	}
	text, err := s.test(module)
	return append(changes, change{path: test, new: text}), err
}

// report says what was done and what is left to do.
func (s *step) report(in place, changes []change, dry bool) {
	say := func(format string, args ...any) { fmt.Fprintf(in.out, format+"\n", args...) }
	from := "the files as they are"
	if s.then != s.now {
		from = s.then.of
	}
	if dry {
		say("\nNothing was written. Without --dry-run:")
	}
	say("%s has version %d now. Version %d of %s, from %s, is %s.", s.entry.name, s.entry.version+1, s.entry.version, s.entry.payload, from, s.kept)
	for _, name := range s.order[1:] {
		say("%s has changed too and is kept as %s.", name, s.names[name])
	}
	say("")
	for _, c := range changes {
		did := "changed"
		if c.old == nil {
			did = "added  "
		}
		say("%s %s", did, c.path)
	}
	if len(s.decisions) > 0 {
		say("\nDecide in %s.upcast:", s.kept)
		for _, d := range s.decisions {
			say("- %s", d)
		}
	}
	for _, n := range s.notes {
		say("\n%s", n)
	}
	say("\nNext:")
	if len(s.order) == 1 && !s.changed(s.order[0]) {
		say("change %s", s.entry.payload)
		if parts := s.now.reach(s.entry.payload)[1:]; len(parts) > 0 {
			say("  (%s is made of %s too: instead of changing these, give the new version others)", s.kept, strings.Join(parts, " and "))
		}
	}
	say("go generate ./...")
	say("go test ./%s", eventsDir)
	say("go run ./cmd/service events check")
}

// alsoChanged notes the other event types that a changed part is in.
func (s *step) alsoChanged() {
	for _, l := range s.now.literals() {
		other, err := s.now.entry(l.name)
		if err != nil || l.name == s.entry.name {
			continue
		}
		was, err := s.then.entry(l.name)
		if err != nil || was.version != other.version {
			continue // it is new, or has a new version already
		}
		for _, part := range s.then.reach(was.payload) {
			if slices.Contains(s.order[1:], part) {
				s.notes = append(s.notes, fmt.Sprintf("%s is part of %s as well: if that needs a new version too, go run ./scaffold version %s.", part, l.name, l.name))
				break
			}
		}
	}
}
