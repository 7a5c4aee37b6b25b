package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// kinds are events whose payload has fields of every kind, in a catalog written
// in another way.
const kinds = `package events

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"example.com/millwright/internal/infra/envelope"
)

// Catalog lists every event type.
func Catalog() (*envelope.Catalog, error) {
	return envelope.NewCatalog(
		envelope.Type[Sent]{
			Name:    "parcels.sent",
			Version: 3,
			Topic:   "parcels",
			Owner:   "parcels team",
			Key:     func(e Sent) string { return e.ID.String() },
			Upcasters: []envelope.Upcaster{
				// The oldest.
				envelope.Upcast(1, func(old SentV1) (SentV2, error) { return SentV2{Route: Route{Stop(old.To)}}, nil }),
				envelope.Upcast[SentV2, Sent](2, sentFromV2), // the one before
			},
		},
	)
}

func sentFromV2(old SentV2) (Sent, error) {
	return Sent{Parts: Parts{Route: old.Route}}, nil
}

type (
	// Sent says that a parcel is on its way.
	Sent struct {
		ID       uuid.UUID
		Parts // what it shares with others
		*More    ` + "`json:\"more\"`" + `
		A, B     int8
		Ratio    float32         ` + "`json:\",string\"`" + `
		Fragile  bool            ` + "`json:\"fragile,string\"`" + `
		State    State           ` + "`json:\"state,string\"`" + `
		Sent     *time.Time      ` + "`json:\"sent\"`" + `
		Took     time.Duration   ` + "`json:\"took\"`" + `
		Raw      json.RawMessage ` + "`json:\"raw\"`" + `
		Weight   float64
		Label    []byte
		Any      any
		Anything interface{}
		Counts   map[string]map[int]Counter
		Pair     [2]string
		Inner    struct{ Name string }
		Tree     *Tree
		Hidden   string ` + "`json:\"-\"`" + `
		internal string
		Last     time.Time
	}

	// SentV1 is version 1.
	SentV1 struct{ To string }

	// SentV2 is version 2.
	SentV2 struct{ Route Route }
)

// Parts are in every event.
type Parts struct {
	Route Route
}

type More struct{ Note string }

type State string

type Counter uint16

type Route []Stop

type Stop string

type Tree struct {
	Name     string
	Children []Tree
}

func (s Sent) String() string { return fmt.Sprint(s.internal) }
`

func withKinds(t *testing.T) repository {
	t.Helper()
	r := setup(t)
	require.NoError(t, os.RemoveAll(filepath.Join(r.dir, eventsDir)))
	require.NoError(t, os.Mkdir(filepath.Join(r.dir, eventsDir), 0o755))
	r.write("internal/events/events.go", kinds)
	r.commit()
	return r
}

func TestEveryKindOfField(t *testing.T) {
	r := withKinds(t)
	require.NotContains(t, r.version("parcels.sent"), "Give ")
	events := r.read("internal/events/events.go")
	require.Contains(t, events, `				envelope.Upcast[SentV2, SentV3](2, sentFromV2), // the one before
				envelope.Upcast(3, SentV3.upcast),
			},
`)
	require.Contains(t, events, "func sentFromV2(old SentV2) (SentV3, error) {\n\treturn SentV3{Parts: Parts{Route: old.Route}}, nil\n")
	require.Contains(t, events, "\t\tParts:    old.Parts,\n\t\tMore:     old.More,\n\t\tA:        old.A,\n\t\tB:        old.B,\n")
	r.mustPass()
}

// TestMovedPart changes a type far down, and takes away what its file imported.
func TestMovedPart(t *testing.T) {
	r := withKinds(t)
	const file = "internal/events/events.go"
	r.replace(file, "type Stop string", "type Stop struct{ City string }", 1)
	r.replace(file, "json.RawMessage ", "string ", 1)
	r.replace(file, "Weight   float64", "Weight   string", 1)
	r.replace(file, "\t\"encoding/json\"\n", "", 1)
	out := r.version("parcels.sent")
	require.Contains(t, out, `
Decide in SentV3.upcast:
- Parts is still Parts, but that has changed: convert it from what was kept
- Raw was json.RawMessage and is string: convert it
- Weight was float64 and is string: convert it
`)
	events := r.read(file)
	require.Contains(t, events, "import (\n\t\"encoding/json\"\n\t\"fmt\"\n")
	for _, kept := range []string{
		"func(old SentV1) (SentV2, error) { return SentV2{Route: RouteV3{StopV3(old.To)}}, nil }",
		"return SentV3{Parts: PartsV3{Route: old.Route}}, nil",
		"SentV2 struct{ Route RouteV3 }",
		"type RouteV3 []StopV3\n", "type StopV3 string\n",
		"type PartsV3 struct {\n\tRoute RouteV3\n}\n",
		"\tPartsV3  // what it shares with others\n",
	} {
		require.Contains(t, events, kept)
	}
	require.Contains(t, out, "\nThe field Parts of SentV3 is called PartsV3, since it is embedded: correct the code that uses it.\n")
	r.replace(file, "SentV3{Parts: PartsV3{", "SentV3{PartsV3: PartsV3{", 1)
	r.mustFail("Parts is empty: set it in an upcaster from version 3 on")
	r.replace(file, "return Sent{\n", `var route Route
	for _, stop := range old.Route {
		route = append(route, Stop{City: string(stop)})
	}
	return Sent{
		Parts: Parts{Route: route}, Raw: string(old.Raw), Weight: fmt.Sprint(old.Weight),
`, 1)
	r.mustPass()
}

// TestJSONOfItsOwn has a field whose JSON can't be known: the test asks for it.
func TestJSONOfItsOwn(t *testing.T) {
	r := withKinds(t)
	const file = "internal/events/events.go"
	r.replace(file, "type State string", `type State struct{ on bool }

func (s *State) UnmarshalText(text []byte) error {
	s.on = string(text) == "on"
	return nil
}`, 1)
	r.commit()
	require.Contains(t, r.version("parcels.sent"), "\nGive \"state\" a value in the test's event: the scaffold doesn't know its JSON.\n")
	r.mustFail("give State a value in the event above")
	r.replace("internal/events/parcels_sent_v3_test.go", `"state": null`, `"state": "on"`, 1)
	r.mustPass()
}

// TestMethodsAreNotKept says so where the JSON of old events depends on them.
func TestMethodsAreNotKept(t *testing.T) {
	r := withKinds(t)
	const file = "internal/events/events.go"
	const methods = "\n\nfunc (s *State) UnmarshalText(text []byte) error { s.on = string(text) == \"on\"; return nil }\n"
	r.replace(file, "type State string", "type State struct{ on bool }"+methods, 1)
	r.commit()
	r.replace(file, "type State struct{ on bool }", "type State struct{ on, off bool }", 1)
	require.Contains(t, r.version("parcels.sent"), "\nState has JSON of its own: copy the methods that read it for StateV3.\n")
	r.replace("internal/events/parcels_sent_v3_test.go", `"state": null`, `"state": "on"`, 1)
	r.mustFail("cannot unmarshal string")
	r.replace(file, "type StateV3 struct{ on bool }", "type StateV3 struct{ on bool }"+strings.Replace(methods, "*State", "*StateV3", 1), 1)
	r.replace(file, "return Sent{\n", "return Sent{\nState: State{on: old.State.on},\n", 1)
	r.mustPass()
}

func TestImportsThatDisagree(t *testing.T) {
	r := withKinds(t)
	r.replace("internal/events/events.go", "\t\"encoding/json\"\n", "\tjson \"strconv\"\n", 1)
	got := r.run("version", "parcels.sent")
	require.Equal(t, result{code: exitFailed,
		err: `scaffold: internal/events/events.go:4: json is "strconv" here, but SentV3 needs "encoding/json": name one of them differently` + "\n"}, got)
}

// TestWriteAllOrNone lets the last of three files fail.
func TestWriteAllOrNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	require.NoError(t, os.WriteFile(old, []byte("before"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "taken"), 0o755))
	changes := []change{{path: "old", old: []byte("before"), new: []byte("after")}, {path: "new", new: []byte("x")}, {path: "taken", new: []byte("x")}}
	require.Error(t, write(dir, changes))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "neither new files nor what was written on the way")
	text, err := os.ReadFile(old)
	require.NoError(t, err)
	require.Equal(t, "before", string(text))

	require.NoError(t, write(dir, changes[:2]))
	text, err = os.ReadFile(old)
	require.NoError(t, err)
	require.Equal(t, "after", string(text))
	info, err := os.Stat(old)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

// TestTokens: layout and comments don't make another declaration, anything else
// does.
func TestTokens(t *testing.T) {
	t.Parallel()
	const is = "T struct {\n\tA int `json:\"a\"`\n}"
	require.Equal(t, tokens(is), tokens("T struct { // of something\n\n\n  A   int `json:\"a\"` // one\n}"))
	for _, other := range []string{"T struct {\n\tA int `json:\"b\"`\n}", "T struct {\n\tA, B int `json:\"a\"`\n}", "T struct {\n}", ""} {
		require.NotEqual(t, tokens(is), tokens(other), other)
	}
}

// TestApply replaces words anywhere in a text and nothing else.
func TestApply(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`[a-z]{0,5}`)).Draw(t, "words")
		var edits []edit
		var want, is strings.Builder
		for _, word := range words {
			begin := is.Len()
			is.WriteString(word)
			if rapid.Bool().Draw(t, "replace") {
				edits = append(edits, edit{begin, is.Len(), "<" + word + ">"})
				word = "<" + word + ">"
			}
			want.WriteString(word)
			is.WriteString(" ")
			want.WriteString(" ")
		}
		require.Equal(t, want.String(), string(apply([]byte(is.String()), edits)))
	})
}

// TestSample makes JSON that encoding/json reads, for a type in itself too.
func TestSample(t *testing.T) {
	t.Parallel()
	e, err := parseEvents("", map[string][]byte{"events.go": []byte(kinds)})
	require.NoError(t, err)
	s := sampler{of: e}
	sample := s.named("Tree", "")
	require.JSONEq(t, `{"Name":"Name","Children":[null]}`, sample)
	var all map[string]any
	require.NoError(t, json.Unmarshal([]byte(s.named("Sent", "")), &all))
	require.Len(t, all, 20)
	require.Equal(t, map[string]any{"Note": "Note"}, all["more"])
	require.Equal(t, `"state"`, all["state"])
	require.Equal(t, "true", all["fragile"])
	require.NotContains(t, all, "Hidden")
	require.NotContains(t, all, "internal")
	require.NotEqual(t, all["sent"], all["Last"])
	require.Empty(t, s.unknown)
}
