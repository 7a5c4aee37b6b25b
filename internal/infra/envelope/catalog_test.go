package envelope_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope"
)

type (
	greetedV1 struct {
		Name string `json:"name"`
	}
	greetedV2 struct {
		Names []string `json:"names"`
	}
	greeted struct {
		Names []string `json:"names"`
		Count int      `json:"count"`
	}
	parted struct {
		Name string `json:"name"`
	}
)

func toV2(old greetedV1) (greetedV2, error) {
	if old.Name == "" {
		return greetedV2{}, errors.New("nobody was greeted")
	}
	return greetedV2{Names: []string{old.Name}}, nil
}

func toV3(old greetedV2) (greeted, error) {
	return greeted{Names: old.Names, Count: len(old.Names)}, nil
}

func key(g greeted) string { return g.Names[0] }

var greetedType = envelope.Type[greeted]{
	Name: "people.greeted", Version: 3, Topic: "people", Owner: "tests", Key: key,
	Upcasters: []envelope.Upcaster{envelope.Upcast(2, toV3), envelope.Upcast(1, toV2)}, // in any order
}

var partedType = envelope.Type[parted]{Name: "people.parted", Version: 3, Topic: "people", Owner: "tests",
	Key: func(p parted) string { return p.Name }}

func decode(t *testing.T, eventType string, version int, data string) (any, error) {
	t.Helper()
	catalog, err := envelope.NewCatalog(greetedType, partedType)
	require.NoError(t, err)
	return catalog.Decode(envelope.Envelope{
		Header: envelope.Header{ID: "e1", Type: eventType, SchemaVersion: version}, Data: json.RawMessage(data),
	})
}

func TestUpcasting(t *testing.T) {
	t.Parallel()
	want := greeted{Names: []string{"Ada"}, Count: 1}
	for version, data := range map[int]string{1: `{"name":"Ada"}`, 2: `{"names":["Ada"]}`, 3: `{"names":["Ada"],"count":1}`} {
		got, err := decode(t, "people.greeted", version, data)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestWhatIsWrongWithAPayload(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		eventType string
		version   int
		data      string
		kind      error
		text      string
	}{
		{"people.hugged", 1, `{}`, envelope.ErrUnknownType, `envelope: unknown event type: "people.hugged" is not in this service's catalog (people.hugged v1, id "e1")`},
		{"people.greeted", 4, `{}`, envelope.ErrNewerVersion,
			`envelope: newer schema version: the event has version 4, this build knows 3: deploy a build that knows it, then replay (people.greeted v4, id "e1")`},
		{"people.parted", 2, `{}`, envelope.ErrUnsupportedVersion,
			`envelope: unsupported schema version: the event has version 2, this build reads 3 to 3: add an upcaster, then replay (people.parted v2, id "e1")`},
		{"people.greeted", 3, `{"name":"Ada"}`, envelope.ErrUnknownFields,
			`envelope: unknown fields: version 3 of people.greeted has no field "name": did its producer change it without a new version? (people.greeted v3, id "e1")`},
		{"people.greeted", 1, `{"names":[]}`, envelope.ErrUnknownFields,
			`envelope: unknown fields: version 1 of people.greeted has no field "names": did its producer change it without a new version? (people.greeted v1, id "e1")`},
		{"people.greeted", 3, `{"count":"1"}`, envelope.ErrPayload,
			`envelope: malformed payload: version 3 of people.greeted can't be decoded: /count: a JSON string is no int (people.greeted v3, id "e1")`},
		{"people.greeted", 3, `{"count":`, envelope.ErrPayload, `envelope: malformed payload: version 3 of people.greeted can't be decoded: jsontext: unexpected EOF within "/count" after offset 9 (people.greeted v3, id "e1")`},
		{"people.greeted", 3, ``, envelope.ErrPayload, `envelope: malformed payload: version 3 of people.greeted can't be decoded: the event has no data (people.greeted v3, id "e1")`},
		{"people.greeted", 3, ` null`, envelope.ErrPayload, `envelope: malformed payload: version 3 of people.greeted can't be decoded: the event has no data (people.greeted v3, id "e1")`},
		{"people.greeted", 3, "{\"names\":[\"\xff\"]}", envelope.ErrPayload, `envelope: malformed payload: version 3 of people.greeted can't be decoded: jsontext: invalid UTF-8 within "/names/0" after offset 11 (people.greeted v3, id "e1")`},
		{"people.greeted", 3, `{}{}`, envelope.ErrPayload, `envelope: malformed payload: version 3 of people.greeted can't be decoded: jsontext: invalid character '{' after top-level value after offset 2 (people.greeted v3, id "e1")`},
		{"people.greeted", 3, `{}}`, envelope.ErrPayload, `envelope: malformed payload: version 3 of people.greeted can't be decoded: jsontext: invalid character '}' after top-level value after offset 2 (people.greeted v3, id "e1")`},
		{"people.greeted", 1, `{}`, envelope.ErrPayload, `envelope: malformed payload: the upcaster from version 1 refuses it: nobody was greeted (people.greeted v1, id "e1")`},
	} {
		_, err := decode(t, test.eventType, test.version, test.data)
		require.EqualError(t, err, test.text)
		require.ErrorIs(t, err, test.kind)
	}
}

func TestCatalogProblemsAllAtOnce(t *testing.T) {
	t.Parallel()
	second, third := partedType, greetedType
	second.Name = "people.left"
	third.Version = 4 // so that an upcaster from version 3 is due
	gap := envelope.Type[struct{ A int }]{Name: "a.b", Version: 3, Topic: "a", Owner: "tests", Key: func(struct{ A int }) string { return "" },
		Upcasters: []envelope.Upcaster{envelope.Upcast(2, toV3)}}
	many := envelope.Type[greetedV2]{Name: "c.d", Version: 1, Topic: "c", Owner: "tests", Key: func(greetedV2) string { return "" },
		Upcasters: []envelope.Upcaster{envelope.Upcast(0, toV2)}}
	_, err := envelope.NewCatalog(
		envelope.Type[greetedV1]{Name: "Greeted!", Topic: ""},
		partedType, partedType, second, third, gap, many,
	)
	require.EqualError(t, err, `catalog: event type "Greeted!": Name must be lower-case words joined by dots, such as orders.placed
catalog: event type "Greeted!": Topic "" must be lower-case words joined by dots, such as orders
catalog: event type "Greeted!": Version is 0, want 1 or more
catalog: event type "Greeted!": Key is missing: order is kept per key, so every event needs one
catalog: event type "Greeted!": Owner is missing: whom does one ask about it?
catalog: event type "people.parted" is declared twice
catalog: envelope_test.parted is the payload of both "people.parted" and "people.parted": each type needs its own
catalog: envelope_test.parted is the payload of both "people.parted" and "people.left": each type needs its own
catalog: event type "people.greeted": the upcasters must lead to version 4 without a gap: found one from version 2 where 3 is due
catalog: event type "a.b": the upcaster from version 2 returns envelope_test.greeted, but version 3 is struct { A int }
catalog: event type "c.d": 1 upcasters are too many: only 0 versions come before version 1`)
}

func TestCatalogLookups(t *testing.T) {
	t.Parallel()
	catalog, err := envelope.NewCatalog(partedType, greetedType)
	require.NoError(t, err)
	require.Equal(t, []string{"people"}, catalog.Topics())
	require.Len(t, catalog.Types(), 2)
	require.Equal(t, "people.greeted", catalog.Types()[0].Name)
	require.Equal(t, 1, catalog.Types()[0].OldestVersion())
	entry, err := catalog.OfPayload(reflect.TypeFor[greeted]())
	require.NoError(t, err)
	require.Equal(t, "Ada", entry.Key(greeted{Names: []string{"Ada"}}))
	_, err = catalog.OfPayload(reflect.TypeFor[*greeted]())
	require.EqualError(t, err, `envelope: unknown event type: *envelope_test.greeted is not the payload of a type in the catalog: add it to internal/events/catalog.go`)
}

func toV2Again(g greeted) (greetedV2, error) {
	if g.Count == 0 {
		return greetedV2{}, errors.New("nobody was greeted")
	}
	return greetedV2{Names: g.Names}, nil
}

func toV1Again(g greeted) (greetedV1, error) { return greetedV1{Name: g.Names[0]}, nil }

func TestDowncasting(t *testing.T) {
	t.Parallel()
	declared := greetedType
	declared.Downcasters = []envelope.Downcaster{envelope.Downcast(1, toV1Again), envelope.Downcast(2, toV2Again)} // in any order
	catalog, err := envelope.NewCatalog(declared)
	require.NoError(t, err)
	payload := greeted{Names: []string{"Ada"}, Count: 1}
	versions, err := catalog.Find("people.greeted").Downcast(payload)
	require.NoError(t, err)
	require.Equal(t, []envelope.Versioned{
		{Version: 3, FallbackVersion: 1, Payload: payload},
		{Version: 2, FallbackVersion: 1, Payload: greetedV2{Names: []string{"Ada"}}},
		{Version: 1, Payload: greetedV1{Name: "Ada"}},
	}, versions)
	_, err = catalog.Find("people.greeted").Downcast(greeted{})
	require.EqualError(t, err, "the downcaster of people.greeted to version 2 refuses it: nobody was greeted")

	for _, c := range []struct {
		version, fallback int
		skipped           bool
	}{{4, 0, false}, {4, 3, true}, {4, 1, true}, {4, 4, false}, {3, 1, false}, {2, 1, false}} {
		e := envelope.Envelope{Header: envelope.Header{Type: "people.greeted", SchemaVersion: c.version, FallbackVersion: c.fallback}}
		require.Equal(t, c.skipped, catalog.Skips(e), "%d, else %d", c.version, c.fallback)
	}
	require.False(t, catalog.Skips(envelope.Envelope{Header: envelope.Header{Type: "people.parted", SchemaVersion: 2, FallbackVersion: 1}}))
}

func TestMistakesInDowncasters(t *testing.T) {
	t.Parallel()
	declared := greetedType
	declared.Downcasters = []envelope.Downcaster{
		envelope.Downcast(3, toV2Again), envelope.Downcast(2, toV2Again), envelope.Downcast(2, toV2Again), envelope.Downcast(1, toV2Again), envelope.Downcast(0, toV1Again),
	}
	_, err := envelope.NewCatalog(declared)
	require.EqualError(t, err, `catalog: event type "people.greeted": a downcaster leads to version 3: want one of the older versions that have upcasters
catalog: event type "people.greeted": two downcasters lead to version 2
catalog: event type "people.greeted": the downcaster to version 1 turns envelope_test.greeted into envelope_test.greetedV2, want envelope_test.greeted into envelope_test.greetedV1
catalog: event type "people.greeted": a downcaster leads to version 0: want one of the older versions that have upcasters`)
}

// everything has a field of each kind that encoding/json and its second version
// might see differently.
type everything struct {
	Took    time.Duration     `json:"took"`
	Digest  [4]byte           `json:"digest"`
	Raw     []byte            `json:"raw"`
	NoRaw   []byte            `json:"no_raw"`
	List    []string          `json:"list"`
	NoList  []string          `json:"no_list"`
	Map     map[int]string    `json:"map"`
	NoMap   map[string]string `json:"no_map"`
	Text    int64             `json:"text,string"`
	TextOr  *int64            `json:"text_or,string,omitempty"`
	Flag    bool              `json:"flag,string"`
	Pointer *int              `json:"pointer"`
	Any     any               `json:"any"`
	Later   json.RawMessage   `json:"later"`
	At      time.Time         `json:"at"`
	ID      uuid.UUID         `json:"id"`
	Host    netip.Addr        `json:"host"`
	Float   float32           `json:"float"`
	part
	Part part `json:"part"`
}

type part struct {
	Name string `json:"name"`
}

// What is published is written by encoding/json, and must be read as it was.
func TestDecodesWhatIsWritten(t *testing.T) {
	t.Parallel()
	catalog, err := envelope.NewCatalog(envelope.Type[everything]{Name: "a.b", Version: 1, Topic: "a", Owner: "tests", Key: func(everything) string { return "k" }})
	require.NoError(t, err)
	n, m := 7, int64(8)
	for _, want := range []everything{
		{Later: json.RawMessage("null")},
		{
			Took: 90 * time.Second, Digest: [4]byte{1, 2}, Raw: []byte("raw"), List: []string{"<&>", "\u2028"}, Map: map[int]string{-3: "x"}, NoMap: map[string]string{},
			Text: -5, TextOr: &m, Flag: true, Pointer: &n, Any: map[string]any{"a": 1.5, "b": []any{nil, true}}, Later: json.RawMessage(`{"x":1e400}`),
			At: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), ID: uuid.MustParse("0197a000-0000-7000-8000-000000000001"), Host: netip.MustParseAddr("::1"),
			Float: 0.1, part: part{"outer"}, Part: part{"inner"},
		},
	} {
		data, err := json.Marshal(want)
		require.NoError(t, err)
		got, err := catalog.Decode(envelope.Envelope{Header: envelope.Header{Type: "a.b", SchemaVersion: 1}, Data: data})
		require.NoError(t, err, string(data))
		require.Equal(t, want, got)
	}
}

// A name in other letters is another name, and a name given twice says nothing.
func TestNamesAreExact(t *testing.T) {
	t.Parallel()
	_, err := decode(t, "people.parted", 3, `{"Name":"Ada"}`)
	require.ErrorIs(t, err, envelope.ErrUnknownFields)
	_, err = decode(t, "people.parted", 3, `{"name":"Ada","name":"Bob"}`)
	require.ErrorIs(t, err, envelope.ErrPayload)
	_, err = decode(t, "people.parted", 3, `{"name":"Ada"} {}`)
	require.ErrorIs(t, err, envelope.ErrPayload)
	_, err = decode(t, "people.parted", 3, `["secret"]`)
	require.EqualError(t, err, `envelope: malformed payload: version 3 of people.parted can't be decoded: the payload: a JSON array is no envelope_test.parted (people.parted v3, id "e1")`)
}
