// Package schema holds the JSON Schemas (draft 2020-12) of the events' payloads.
//
// There is a document for every version of every event type. It is generated from
// the Go type, committed, and embedded in the service: the change of a contract
// shows up as a change of a file, which can be reviewed and compared
// (package compat). A service whose types and files differ does not start.
//
// An object has no other fields than its schema says, as decoding is strict. An
// integer is one of 64 bits unless the schema bounds it. Formats are asserted. null
// is allowed where the type says so only: a nil slice or map is written as null, so
// make it empty, or give its field omitempty.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"example.com/millwright/internal/infra/envelope/compat"
)

// Document is the schema of one version of an event type, with what else the
// events' readers rely on.
type Document struct {
	Type    string
	Version int
	// Topic is where the events travel.
	Topic string
	// Key is the JSON pointer of the field that is the partition key, or Computed.
	Key    string
	Schema *jsonschema.Schema
}

// Path is the document's file below the directory of schemas.
func (d *Document) Path() string { return fmt.Sprintf("%s/v%d.json", d.Type, d.Version) }

// String names the version.
func (d *Document) String() string { return fmt.Sprintf("%s v%d", d.Type, d.Version) }

// The keywords that carry what is not about the payload's form.
const (
	topicKeyword = "x-topic"
	keyKeyword   = "x-partition-key"
)

// JSON is the file's content.
func (d *Document) JSON() []byte {
	s := *d.Schema
	s.Extras = map[string]any{topicKeyword: d.Topic, keyKeyword: d.Key}
	encoded, err := s.MarshalJSON()
	if err != nil {
		panic(err) // a schema is made of what JSON has
	}
	var indented bytes.Buffer
	_ = json.Indent(&indented, encoded, "", "  ") // of what has just been encoded
	indented.WriteByte('\n')
	return indented.Bytes()
}

// Same reports whether both say the same, but for descriptions.
func (d *Document) Same(other *Document) bool {
	return bytes.Equal(d.undescribed(), other.undescribed())
}

// undescribed is what the files of the same contract have in common.
func (d *Document) undescribed() []byte {
	bare := *d
	bare.Schema = describeNothing(d.Schema)
	return bare.JSON()
}

// Parse reads a file of the given path below the directory of schemas.
func Parse(file string, content []byte) (*Document, error) {
	d := &Document{Type: path.Dir(file)}
	if n, err := fmt.Sscanf(path.Base(file), "v%d.json", &d.Version); n != 1 || err != nil || d.Path() != file {
		return nil, fmt.Errorf("schema: %s: want <event type>/v<version>.json", file)
	}
	var extras struct {
		Topic string `json:"x-topic"`
		Key   string `json:"x-partition-key"`
	}
	s, err := compat.Parse(content)
	if err == nil {
		err = json.Unmarshal(content, &extras)
	}
	if err != nil {
		return nil, fmt.Errorf("schema: %s: %w", file, err)
	}
	d.Schema, d.Topic, d.Key = s, extras.Topic, extras.Key
	return d, nil
}

// Read reads all documents below a directory, in the order of their types and
// versions. A directory that doesn't exist has none.
func Read(dir fs.FS) ([]*Document, error) {
	files, err := fs.Glob(dir, "*/v*.json")
	if err != nil {
		return nil, err
	}
	documents := make([]*Document, len(files))
	for i, file := range files {
		content, err := fs.ReadFile(dir, file)
		if err == nil {
			documents[i], err = Parse(file, content)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(documents, compare)
	return documents, nil
}

func compare(a, b *Document) int {
	if a.Type != b.Type {
		return strings.Compare(a.Type, b.Type)
	}
	return a.Version - b.Version
}

// describeNothing copies a schema without its descriptions, which are not part of
// the contract and come from source code that a running service doesn't have.
func describeNothing(s *jsonschema.Schema) *jsonschema.Schema {
	if s == nil || s == jsonschema.TrueSchema || s == jsonschema.FalseSchema {
		return s
	}
	bare := *s
	bare.Description, bare.Examples, bare.Comments = "", nil, ""
	bare.Items, bare.AdditionalProperties = describeNothing(s.Items), describeNothing(s.AdditionalProperties)
	if s.Properties != nil {
		bare.Properties = jsonschema.NewProperties()
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			bare.Properties.Set(p.Key, describeNothing(p.Value))
		}
	}
	for _, many := range []*[]*jsonschema.Schema{&bare.OneOf, &bare.AnyOf, &bare.AllOf} {
		copied := slices.Clone(*many)
		for i := range copied {
			copied[i] = describeNothing(copied[i])
		}
		*many = copied
	}
	if s.Definitions != nil {
		bare.Definitions = jsonschema.Definitions{}
		for name, definition := range s.Definitions {
			bare.Definitions[name] = describeNothing(definition)
		}
	}
	return &bare
}
