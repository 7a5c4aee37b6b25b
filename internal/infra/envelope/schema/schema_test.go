package schema_test

import (
	"encoding/json"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/schema"
)

// Moved says that somebody lives elsewhere now.
type Moved struct {
	// Who has moved,
	// and is the key.
	Who  uuid.UUID `json:"who"`
	From *Address  `json:"from,omitempty"`
	// To is where to.
	To       Address           `json:"to"`
	Kind     string            `json:"kind,omitzero" jsonschema:"enum=rented,enum=owned"`
	Rooms    int16             `json:"rooms"`
	At       time.Time         `json:"at"`
	Host     netip.Addr        `json:"host"`
	Photo    []byte            `json:"photo,omitempty"`
	Notes    map[string]string `json:"notes,omitempty"`
	Ended    *time.Time        `json:"ended" jsonschema:"nullable"`
	Anything json.RawMessage   `json:"anything,omitempty"`
}

// Address is a place.
type Address struct {
	// Lines are one or more.
	Lines []string `json:"lines" jsonschema:"minItems=1,maxLength=9"`
}

type movedV1 struct {
	Who  uuid.UUID `json:"who"`
	City string    `json:"city"`
}

func (old movedV1) upcast() (Moved, error) { return Moved{Who: old.Who}, nil }

func catalogOf(t *testing.T, types ...envelope.Declaration) *envelope.Catalog {
	t.Helper()
	catalog, err := envelope.NewCatalog(types...)
	require.NoError(t, err)
	return catalog
}

func moved() envelope.Type[Moved] {
	return envelope.Type[Moved]{
		Name: "people.moved", Version: 2, Topic: "people", Owner: "us",
		Key:       func(m Moved) string { return m.Who.String() },
		Upcasters: []envelope.Upcaster{envelope.Upcast(1, movedV1.upcast)},
	}
}

// files is what generating writes.
func files(t *testing.T, catalog *envelope.Catalog, source string) fstest.MapFS {
	t.Helper()
	documents, err := schema.Generate(catalog, source)
	require.NoError(t, err)
	dir := fstest.MapFS{}
	for _, d := range documents {
		dir[d.Path()] = &fstest.MapFile{Data: d.JSON()}
	}
	return dir
}

func TestDocument(t *testing.T) {
	t.Parallel()
	dir := files(t, catalogOf(t, moved()), ".")
	require.JSONEq(t, `{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "people.moved v2",
		"description": "Moved says that somebody lives elsewhere now.",
		"type": "object", "additionalProperties": false, "required": ["who", "to", "rooms", "at", "host", "ended"],
		"properties": {
			"who": {"type": "string", "format": "uuid", "description": "Who has moved, and is the key."},
			"from": {
				"type": "object", "additionalProperties": false, "required": ["lines"],
				"properties": {"lines": {"type": "array", "minItems": 1, "items": {"type": "string", "maxLength": 9}, "description": "Lines are one or more."}}
			},
			"to": {
				"type": "object", "additionalProperties": false, "required": ["lines"], "description": "To is where to.",
				"properties": {"lines": {"type": "array", "minItems": 1, "items": {"type": "string", "maxLength": 9}, "description": "Lines are one or more."}}
			},
			"kind": {"type": "string", "enum": ["rented", "owned"]},
			"rooms": {"type": "integer", "minimum": -32768, "maximum": 32767},
			"at": {"type": "string", "format": "date-time"},
			"host": {"type": "string"},
			"photo": {"type": "string", "contentEncoding": "base64"},
			"notes": {"type": "object", "additionalProperties": {"type": "string"}},
			"ended": {"oneOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
			"anything": true
		},
		"x-topic": "people", "x-partition-key": "/who"
	}`, string(dir["people.moved/v2.json"].Data))
	require.Contains(t, string(dir["people.moved/v1.json"].Data), `"x-partition-key": "/who"`, "through the upcaster")

	documents, err := schema.Read(dir)
	require.NoError(t, err)
	require.Len(t, documents, 2)
	for _, d := range documents {
		require.Equal(t, string(dir[d.Path()].Data), string(d.JSON()), "what is read is what was written")
	}
}

type tree struct {
	Name     string `json:"name"`
	Children []tree `json:"children,omitempty"`
}

func TestRecursiveType(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, envelope.Type[tree]{Name: "trees.grown", Version: 1, Topic: "trees", Owner: "us", Key: func(t tree) string { return t.Name + "!" }})
	dir := files(t, catalog, "")
	require.Contains(t, string(dir["trees.grown/v1.json"].Data), `"x-partition-key": "computed"`)
	set, err := schema.NewSet(catalog, dir)
	require.NoError(t, err)
	require.NoError(t, validate(set, "trees.grown", 1, `{"name":"oak","children":[{"name":"twig","children":[{"name":"leaf"}]}]}`))
	require.ErrorContains(t, validate(set, "trees.grown", 1, `{"name":"oak","children":[{"name":"twig","children":[{"name":3}]}]}`),
		`/children/0/children/0/name: is number, want string`)
}

func validate(set *schema.Set, eventType string, version int, data string) error {
	return set.Validate(envelope.Envelope{Header: envelope.Header{ID: "e1", Type: eventType, SchemaVersion: version}, Data: json.RawMessage(data)})
}

func TestTypesWithoutAContract(t *testing.T) {
	t.Parallel()
	for want, declaration := range map[string]envelope.Declaration{
		`schema: a.b v1: a: a nil pointer is written as null: add omitempty to its json tag, or the tag jsonschema:"nullable"`: typed[struct {
			A *int `json:"a"`
		}](),
		`schema: a.b v1: a: a json.Number can be any number: say which, int64 or float64, or write it as a string`: typed[struct {
			A json.Number `json:"a"`
		}](),
		`schema: a.b v1: a[].b: JSON has no func()`: typed[struct {
			A []struct {
				B func() `json:"b"`
			} `json:"a"`
		}](),
		`schema: a.b v1: A: name it in a json tag: the name is part of the contract`: typed[struct{ A int }](),
		`schema: a.b v1: a: schema_test.custom encodes itself: give it a method JSONSchema() *jsonschema.Schema`: typed[struct {
			A custom `json:"a"`
		}](),
		`schema: a.b v1: a{}: a map needs keys of a string type, not int`: typed[struct {
			A map[string]map[int]string `json:"a"`
		}](),
	} {
		_, err := schema.Generate(catalogOf(t, declaration), "")
		require.EqualError(t, err, want)
	}
}

type custom struct{}

func (custom) MarshalJSON() ([]byte, error) { return []byte(`1`), nil }

func typed[T any]() envelope.Declaration {
	return envelope.Type[T]{Name: "a.b", Version: 1, Topic: "a", Owner: "us", Key: func(T) string { return "" }}
}

func TestSetRefusesWhatIsNotCommitted(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, moved())
	dir := files(t, catalog, ".")
	_, err := schema.NewSet(catalog, dir)
	require.NoError(t, err, "descriptions don't count: a running service has none")

	other := fstest.MapFS{
		"people.moved/v1.json": dir["people.moved/v1.json"],
		"people.gone/v1.json":  dir["people.moved/v1.json"], // of a type that is no longer in the catalog
	}
	_, err = schema.NewSet(catalog, other)
	require.EqualError(t, err, "schema: people.moved v2 has no committed schema people.moved/v2.json: run `go generate ./...` and commit what it wrote")

	sideward := moved()
	sideward.Compatibility = "SIDEWARD"
	_, err = schema.NewSet(catalogOf(t, sideward), dir)
	require.ErrorContains(t, err, `schema: people.moved: Compatibility: compat: mode "SIDEWARD": use one of BACKWARD, `)

	changed := moved()
	changed.Topic = "humans"
	_, err = schema.NewSet(catalogOf(t, changed), dir)
	require.EqualError(t, err, "schema: people.moved v1 differs from its committed schema people.moved/v1.json: run `go generate ./...` and commit what it wrote\n"+
		"schema: people.moved v2 differs from its committed schema people.moved/v2.json: run `go generate ./...` and commit what it wrote")
}

func TestMistakesInFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, content, want string }{
		{"a.b/v01.json", `{}`, "schema: a.b/v01.json: want <event type>/v<version>.json"},
		{"a.b/vx.json", `{}`, "schema: a.b/vx.json: want <event type>/v<version>.json"},
		{"a.b/v1.json", `{"type":3}`, "schema: a.b/v1.json: compat: not a JSON Schema 2020-12"},
		{"a.b/v1.json", `[`, "schema: a.b/v1.json: compat: "},
	} {
		_, err := schema.Read(fstest.MapFS{c.file: &fstest.MapFile{Data: []byte(c.content)}})
		require.ErrorContains(t, err, c.want)
	}
	none, err := schema.Read(os.DirFS(filepath.Join(t.TempDir(), "none")))
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = schema.Generate(catalogOf(t, moved()), filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

const valid = `{"who":"0197a000-0000-7000-8000-000000000001","to":{"lines":["x"]},"rooms":3,"at":"2026-01-02T03:04:05Z","host":"::1","ended":null}`

func TestValidate(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, moved())
	set, err := schema.NewSet(catalog, files(t, catalog, ""))
	require.NoError(t, err)
	require.NoError(t, validate(set, "people.moved", 2, valid))
	require.NoError(t, validate(set, "people.moved", 3, `{}`), "refused by decoding")
	require.NoError(t, validate(set, "people.moved", 2, `{`), "refused by decoding")
	for data, want := range map[string]string{
		`{"who":"secret","to":{"lines":[]},"rooms":99999,"at":"now","host":"::1","ended":null,"kind":"lent"}`: `/at: is not of the format date-time; ` +
			`/kind: is none of ["rented","owned"]; /rooms: is above 32767; /to/lines: has 0 items, want 1 or more; /who: is not of the format uuid`,
		`{"who":"0197a000-0000-7000-8000-000000000001","to":{"lines":["0123456789"]},"rooms":1.5,"at":"2026-01-02T03:04:05Z","host":"::1","ended":null,"a/b":1}`://
		`/rooms: is number, want integer; /to/lines/0: has 10 characters, want 9 or fewer; the payload: has the unknown "a/b"`,
		`[]`: `the payload: is array, want object`,
	} {
		err := validate(set, "people.moved", 2, data)
		require.EqualError(t, err, `envelope: malformed payload: it doesn't match its schema: `+want+` (people.moved v2, id "e1")`)
		require.ErrorIs(t, err, envelope.ErrPayload)
	}
}
