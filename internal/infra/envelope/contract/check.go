package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/compat"
	"example.com/millwright/internal/infra/envelope/schema"
)

// History is the schemas as they were before the change that is checked.
type History interface {
	// Last returns all documents as they were last.
	Last() ([]*schema.Document, error)
	// All returns every state that a document's file has had, the oldest first, the
	// last one included.
	All(path string) ([]*schema.Document, error)
}

// Verdict says what became of one version of an event type.
type Verdict struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
	// Mode is how the payload may change.
	Mode string `json:"mode"`
	// Status is unchanged, new type, new version, compatible or incompatible.
	Status Status `json:"status"`
	// Changes says what is different, for people.
	Changes []string `json:"changes,omitempty"`
	// Problems are why it is incompatible.
	Problems []Problem `json:"problems,omitempty"`
	// Consumers of this service handle the type.
	Consumers []string `json:"consumers,omitempty"`
	// WayOut says what to do about the problems.
	WayOut string `json:"way_out,omitempty"`
}

// Status sums a verdict up.
type Status string

// What can become of a version.
const (
	Unchanged    Status = "unchanged"
	NewType      Status = "new type"
	NewVersion   Status = "new version"
	Compatible   Status = "compatible"
	Incompatible Status = "incompatible"
)

// Problem is one reason why a change breaks a contract.
type Problem struct {
	// Rule is a word for programs: one of package compat's, or topic-changed,
	// key-changed, released-changed, schema-removed, version-lowered, no-upcaster.
	Rule string `json:"rule"`
	// Pointer is where in the payload, as a JSON pointer; may be empty.
	Pointer string `json:"pointer,omitempty"`
	Field   string `json:"field,omitempty"`
	// Message says what old events or old consumers meet.
	Message string `json:"message"`
	// Example is a payload that shows it; may be missing.
	Example json.RawMessage `json:"example,omitempty"`
}

// Check compares the schemas of the catalog's types with what they were.
func Check(catalog *envelope.Catalog, current []*schema.Document, history History, parties Parties) ([]Verdict, error) {
	last, err := history.Last()
	if err != nil {
		return nil, err
	}
	before := map[string]*schema.Document{}
	newest := map[string]int{} // version of each type
	for _, d := range last {
		before[d.Path()] = d
		newest[d.Type] = max(newest[d.Type], d.Version)
	}
	c := checker{catalog: catalog, history: history, before: before, newest: newest}
	var verdicts []Verdict
	for _, d := range current {
		v, err := c.check(d)
		if err != nil {
			return nil, err
		}
		delete(before, d.Path())
		v.Consumers = parties.Consumers(d.Type)
		verdicts = append(verdicts, v)
	}
	for _, d := range last {
		if before[d.Path()] != nil {
			verdicts = append(verdicts, Verdict{Type: d.Type, Version: d.Version, Status: Incompatible, Consumers: parties.Consumers(d.Type), Problems: []Problem{{
				Rule: "schema-removed", Message: "its schema is gone, but events of that version are out there",
			}}, WayOut: "bring the file " + d.Path() + " back: the schemas of old versions stay"})
		}
	}
	slices.SortStableFunc(verdicts, func(a, b Verdict) int {
		if a.Type != b.Type {
			return strings.Compare(a.Type, b.Type)
		}
		return a.Version - b.Version
	})
	return verdicts, nil
}

type checker struct {
	catalog *envelope.Catalog
	history History
	before  map[string]*schema.Document
	newest  map[string]int
}

func (c checker) check(d *schema.Document) (Verdict, error) {
	v := Verdict{Type: d.Type, Version: d.Version, Status: Unchanged}
	entry := c.catalog.Find(d.Type)
	if entry != nil {
		v.Mode = entry.Compatibility
	}
	old := c.before[d.Path()]
	switch {
	case old == nil && c.newest[d.Type] == 0:
		v.Status = NewType
	case old == nil:
		c.newVersion(&v, entry)
	case d.Same(old):
	default:
		changes, err := compat.Changes(old.Schema, d.Schema)
		if err != nil {
			return v, fmt.Errorf("contract: %s: %w", d, err)
		}
		for _, change := range changes {
			v.Changes = append(v.Changes, change.String())
		}
		if entry == nil || d.Version < entry.Version {
			v.released(d)
			return v, nil
		}
		return v, c.changed(&v, old, d)
	}
	return v, nil
}

func (v *Verdict) problem(p Problem) {
	v.Status = Incompatible
	v.Problems = append(v.Problems, p)
}

// newVersion checks that what is out there can still be read.
func (c checker) newVersion(v *Verdict, entry *envelope.Entry) {
	v.Status = NewVersion
	switch newest := c.newest[v.Type]; {
	case entry == nil:
	case entry.Version < newest:
		v.problem(Problem{Rule: "version-lowered", Message: fmt.Sprintf("the current version is %d, but %d is out there", entry.Version, newest)})
	case entry.OldestVersion() > newest:
		v.problem(Problem{Rule: "no-upcaster", Message: fmt.Sprintf("this build reads versions from %d on, but events of version %d are out there", entry.OldestVersion(), newest)})
		v.WayOut = fmt.Sprintf("add an upcaster from version %d", newest)
	case v.Version == entry.Version:
		v.Changes = []string{fmt.Sprintf("consumers that know version %d only refuse version %d: deploy those that read it first, or publish both for a while (envelope.Downcast)", newest, v.Version)}
	}
}

// released refuses any change to a version that is no longer the current one.
func (v *Verdict) released(d *schema.Document) {
	v.problem(Problem{Rule: "released-changed", Message: fmt.Sprintf("version %d has been superseded: its events are written and its schema can't change any more", v.Version)})
	v.WayOut = "bring the type and its schema " + d.Path() + " back to what they were"
}

// changed compares two schemas of the current version.
func (c checker) changed(v *Verdict, old, d *schema.Document) error {
	mode, err := compat.ParseMode(v.Mode)
	if err != nil {
		return fmt.Errorf("contract: %s: %w", d, err)
	}
	v.Status = Compatible
	if old.Topic != d.Topic {
		v.problem(Problem{Rule: "topic-changed", Message: fmt.Sprintf("the topic was %q and is %q: consumers that read the old one get nothing any more, and order between the two is lost", old.Topic, d.Topic)})
	}
	if old.Key != d.Key {
		v.problem(Problem{Rule: "key-changed", Message: fmt.Sprintf("the partition key was %s and is %s: events of what used to be one key overtake each other", old.Key, d.Key)})
	}
	earlier, err := c.earlier(mode, old)
	if err != nil {
		return err
	}
	schemas := make([]*jsonschema.Schema, len(earlier))
	for i, e := range earlier {
		schemas[i] = e.Schema
	}
	differences, err := compat.Check(mode, d.Schema, schemas...)
	if err != nil {
		return fmt.Errorf("contract: %s: %w", d, err)
	}
	for _, difference := range differences {
		v.problem(Problem{
			Rule: string(difference.Rule), Pointer: difference.Pointer, Field: difference.Field,
			Message: difference.Message, Example: difference.Counterexample,
		})
	}
	if v.Status == Incompatible {
		v.WayOut = fmt.Sprintf("make it a new version, with an upcaster from version %d: go run ./scaffold version %s", v.Version, v.Type)
	}
	return nil
}

// earlier is what the mode compares with, the oldest first, each once.
func (c checker) earlier(mode compat.Mode, last *schema.Document) ([]*schema.Document, error) {
	if !mode.Transitive() {
		return []*schema.Document{last}, nil
	}
	all, err := c.history.All(last.Path())
	if err != nil {
		return nil, err
	}
	return slices.CompactFunc(all, (*schema.Document).Same), nil
}

// Fixed is a history of one state, such as a directory.
type Fixed []*schema.Document

// Last implements History.
func (f Fixed) Last() ([]*schema.Document, error) { return f, nil }

// All implements History.
func (f Fixed) All(path string) ([]*schema.Document, error) {
	for _, d := range f {
		if d.Path() == path {
			return []*schema.Document{d}, nil
		}
	}
	return nil, nil
}

// Stale lists the committed files that differ from what the types say now, in
// their descriptions too, or that are missing.
func Stale(committed, generated []*schema.Document) (paths []string) {
	content := map[string][]byte{}
	for _, d := range committed {
		content[d.Path()] = d.JSON()
	}
	for _, d := range generated {
		if !bytes.Equal(content[d.Path()], d.JSON()) {
			paths = append(paths, d.Path())
		}
	}
	return paths
}
