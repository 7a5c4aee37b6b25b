package contract_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/contract"
	"example.com/millwright/internal/infra/envelope/schema"
)

// parties are who takes part in these tests.
type parties struct{}

func (parties) Producers(string) []string { return []string{"shop-api"} }
func (parties) Consumers(string) []string { return []string{"ship", "bill"} }

type sold struct {
	ID    string `json:"id"`
	Shop  string `json:"shop"`
	Price int64  `json:"price"`
}

type soldWithNote struct {
	ID    string `json:"id"`
	Shop  string `json:"shop"`
	Price int64  `json:"price"`
	Note  string `json:"gift_note,omitempty"`
}

type soldWithCurrency struct {
	ID       string `json:"id"`
	Shop     string `json:"shop"`
	Price    int64  `json:"price"`
	Currency string `json:"currency"`
}

type soldRenamed struct {
	ID     string `json:"id"`
	Shop   string `json:"shop"`
	Amount int64  `json:"amount"`
}

type soldCheap struct {
	ID    string `json:"id"`
	Shop  string `json:"shop"`
	Price int16  `json:"price"`
}

// declare makes the type orders.sold with payload T, which must have been T0 in
// older versions.
func declare[T any](version int, key func(T) string, change ...func(*envelope.Type[T])) envelope.Declaration {
	d := envelope.Type[T]{Name: "orders.sold", Version: version, Topic: "orders", Owner: "us", Key: key}
	for _, c := range change {
		c(&d)
	}
	return d
}

func catalogOf(t *testing.T, types ...envelope.Declaration) *envelope.Catalog {
	t.Helper()
	catalog, err := envelope.NewCatalog(types...)
	require.NoError(t, err)
	return catalog
}

func documents(t *testing.T, catalog *envelope.Catalog) []*schema.Document {
	t.Helper()
	all, err := schema.Generate(catalog, "")
	require.NoError(t, err)
	return all
}

func TestCheck(t *testing.T) {
	t.Parallel()
	before := declare(1, func(s sold) string { return s.ID })
	both := []string{"ship", "bill"}
	const newVersion = "make it a new version, with an upcaster from version 1: go run ./scaffold version orders.sold"
	for name, c := range map[string]struct {
		before, after envelope.Declaration
		want          []contract.Verdict
	}{
		"nothing":    {before, before, []contract.Verdict{{Version: 1, Mode: "BACKWARD", Status: contract.Unchanged}}},
		"a new type": {nil, before, []contract.Verdict{{Version: 1, Mode: "BACKWARD", Status: contract.NewType}}},
		"an optional field": {before, declare(1, func(s soldWithNote) string { return s.ID }), []contract.Verdict{{
			Version: 1, Mode: "BACKWARD", Status: contract.Compatible, Changes: []string{`new optional field "gift_note"`},
		}}},
		"an optional field, forward": {before, declare(1, func(s soldWithNote) string { return s.ID }, func(d *envelope.Type[soldWithNote]) { d.Compatibility = "FORWARD" }), []contract.Verdict{{
			Version: 1, Mode: "FORWARD", Status: contract.Incompatible, Changes: []string{`new optional field "gift_note"`}, WayOut: newVersion,
			Problems: []contract.Problem{{Rule: "property-unknown", Pointer: "/gift_note", Field: "gift_note"}},
		}}},
		"a required field": {before, declare(1, func(s soldWithCurrency) string { return s.ID }), []contract.Verdict{{
			Version: 1, Mode: "BACKWARD", Status: contract.Incompatible, Changes: []string{`new required field "currency"`}, WayOut: newVersion,
			Problems: []contract.Problem{{Rule: "property-added-required", Pointer: "/currency", Field: "currency"}},
		}}},
		"a required field, none": {before, declare(1, func(s soldWithCurrency) string { return s.ID }, func(d *envelope.Type[soldWithCurrency]) { d.Compatibility = "NONE" }), []contract.Verdict{{
			Version: 1, Mode: "NONE", Status: contract.Compatible, Changes: []string{`new required field "currency"`},
		}}},
		"renamed": {before, declare(1, func(s soldRenamed) string { return s.ID }), []contract.Verdict{{
			Version: 1, Mode: "BACKWARD", Status: contract.Incompatible, Changes: []string{`field "price" removed and "amount" added: renamed?`}, WayOut: newVersion,
			Problems: []contract.Problem{
				{Rule: "property-unknown", Pointer: "/price", Field: "price"}, {Rule: "property-added-required", Pointer: "/amount", Field: "amount"},
			},
		}}},
		"narrowed": {before, declare(1, func(s soldCheap) string { return s.ID }), []contract.Verdict{{
			Version: 1, Mode: "BACKWARD", Status: contract.Incompatible, WayOut: newVersion,
			Problems: []contract.Problem{
				{Rule: "bound-tightened", Pointer: "/price", Field: "price"}, {Rule: "bound-tightened", Pointer: "/price", Field: "price"}, // below and above
			},
		}}},
		"another key": {before, declare(1, func(s sold) string { return s.Shop }), []contract.Verdict{{
			Version: 1, Mode: "BACKWARD", Status: contract.Incompatible, WayOut: newVersion, Problems: []contract.Problem{{Rule: "key-changed"}},
		}}},
		"another topic": {before, declare(1, func(s sold) string { return s.ID }, func(d *envelope.Type[sold]) { d.Topic = "sales" }), []contract.Verdict{{
			Version: 1, Mode: "BACKWARD", Status: contract.Incompatible, WayOut: newVersion, Problems: []contract.Problem{{Rule: "topic-changed"}},
		}}},
		"a new version": {
			before, declare(2, func(s soldRenamed) string { return s.ID }, func(d *envelope.Type[soldRenamed]) {
				d.Upcasters = []envelope.Upcaster{envelope.Upcast(1, func(s sold) (soldRenamed, error) { return soldRenamed{ID: s.ID, Amount: s.Price}, nil })}
			}),
			[]contract.Verdict{
				{Version: 1, Mode: "BACKWARD", Status: contract.Unchanged},
				{Version: 2, Mode: "BACKWARD", Status: contract.NewVersion, Changes: []string{
					"consumers that know version 1 only refuse version 2: deploy those that read it first, or publish both for a while (envelope.Downcast)",
				}},
			},
		},
		"a new version that changes the old one": {
			before, declare(2, func(s soldRenamed) string { return s.ID }, func(d *envelope.Type[soldRenamed]) {
				d.Key = func(soldRenamed) string { return "" }
				d.Upcasters = []envelope.Upcaster{envelope.Upcast(1, func(s sold) (soldRenamed, error) { return soldRenamed{ID: s.ID, Amount: s.Price}, nil })}
			}),
			[]contract.Verdict{
				{Version: 1, Mode: "BACKWARD", Status: contract.Incompatible, WayOut: "bring the type and its schema orders.sold/v1.json back to what they were", Problems: []contract.Problem{{Rule: "released-changed"}}},
				{Version: 2, Mode: "BACKWARD", Status: contract.NewVersion, Changes: []string{
					"consumers that know version 1 only refuse version 2: deploy those that read it first, or publish both for a while (envelope.Downcast)",
				}},
			},
		},
		"a new version, without an upcaster": {before, declare(2, func(s soldRenamed) string { return s.ID }), []contract.Verdict{
			{Version: 1, Status: contract.Incompatible, WayOut: "bring the file orders.sold/v1.json back: the schemas of old versions stay", Problems: []contract.Problem{{Rule: "schema-removed"}}},
			{Version: 2, Mode: "BACKWARD", Status: contract.Incompatible, WayOut: "add an upcaster from version 1", Problems: []contract.Problem{{Rule: "no-upcaster"}}},
		}},
		"an older version": {declare(2, func(s sold) string { return s.ID }), before, []contract.Verdict{
			{Version: 1, Mode: "BACKWARD", Status: contract.Incompatible, Problems: []contract.Problem{{Rule: "version-lowered"}}},
			{Version: 2, Status: contract.Incompatible, WayOut: "bring the file orders.sold/v2.json back: the schemas of old versions stay", Problems: []contract.Problem{{Rule: "schema-removed"}}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var last contract.Fixed
			if c.before != nil {
				last = documents(t, catalogOf(t, c.before))
			}
			catalog := catalogOf(t, c.after)
			got, err := contract.Check(catalog, documents(t, catalog), last, parties{})
			require.NoError(t, err)
			for i := range got {
				require.Equal(t, both, got[i].Consumers)
				got[i].Consumers, got[i].Type = nil, ""
				if name == "narrowed" {
					require.NotEmpty(t, got[i].Changes)
					got[i].Changes = nil
				}
				for j := range got[i].Problems {
					p := &got[i].Problems[j]
					require.NotEmpty(t, p.Message)
					require.Equal(t, p.Field != "", p.Example != nil, "an example for what concerns a field")
					p.Message, p.Example = "", nil
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}

// A wrong mode is the mistake of whoever wrote the catalog.
func TestUnknownMode(t *testing.T) {
	t.Parallel()
	last := contract.Fixed(documents(t, catalogOf(t, declare(1, func(s sold) string { return s.ID }))))
	catalog := catalogOf(t, declare(1, func(s soldWithNote) string { return s.ID }, func(d *envelope.Type[soldWithNote]) { d.Compatibility = "SIDEWARD" }))
	_, err := contract.Check(catalog, documents(t, catalog), last, parties{})
	require.ErrorContains(t, err, `contract: orders.sold v1: compat: mode "SIDEWARD": use one of BACKWARD, `)
}

// repository is a directory of schemas under Git.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		require.NotEqual(t, "1", os.Getenv("REQUIRE_SERVICES"), "git is not installed")
		t.Skip("git is not installed")
	}
	r := repository{t, t.TempDir()}
	r.git("init", "--quiet")
	r.git("commit", "--quiet", "--allow-empty", "--message", "first")
	return r
}

func (r repository) git(args ...string) {
	r.t.Helper()
	command := exec.Command("git", append([]string{"-c", "user.name=test", "-c", "user.email=test@example.com"}, args...)...)
	command.Dir = r.dir
	out, err := command.CombinedOutput()
	require.NoError(r.t, err, string(out))
}

func (r repository) schemas() string { return filepath.Join(r.dir, "internal", "schemas") }

func (r repository) commit(types ...envelope.Declaration) {
	r.t.Helper()
	for _, d := range documents(r.t, catalogOf(r.t, types...)) {
		file := filepath.Join(r.schemas(), filepath.FromSlash(d.Path()))
		require.NoError(r.t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(r.t, os.WriteFile(file, d.JSON(), 0o644))
	}
	r.git("add", ".")
	r.git("commit", "--quiet", "--message", "schemas")
}

func TestGitHistory(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	require.NoError(t, os.MkdirAll(r.schemas(), 0o755))
	history := contract.Git{Dir: r.schemas(), Ref: "HEAD"}
	none, err := history.Last()
	require.NoError(t, err)
	require.Empty(t, none)

	byID := func(s sold) string { return s.ID }
	r.commit(declare(1, byID))
	r.commit(declare(1, func(s soldWithNote) string { return s.ID }))
	r.commit(declare(1, byID)) // dropped again
	last, err := history.Last()
	require.NoError(t, err)
	require.Len(t, last, 1)
	all, err := history.All("orders.sold/v1.json")
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Contains(t, string(all[1].JSON()), "gift_note")

	// The last schema never had a note, one before it had: only the transitive mode
	// remembers.
	for mode, want := range map[string]contract.Status{"BACKWARD": contract.Compatible, "BACKWARD_TRANSITIVE": contract.Incompatible} {
		catalog := catalogOf(t, declare(1, func(s soldOptional) string { return s.ID }, func(d *envelope.Type[soldOptional]) { d.Compatibility = mode }))
		verdicts, err := contract.Check(catalog, documents(t, catalog), history, parties{})
		require.NoError(t, err)
		require.Equal(t, want, verdicts[0].Status, mode)
	}

	_, err = contract.Git{Dir: r.schemas(), Ref: "origin/main"}.Last()
	require.ErrorContains(t, err, `contract: there is no commit "origin/main" to compare `)
	_, err = contract.Git{Dir: t.TempDir(), Ref: "HEAD"}.Last()
	require.ErrorContains(t, err, "not a git repository")
}

// soldOptional reads what sold wrote.
type soldOptional struct {
	ID       string `json:"id"`
	Shop     string `json:"shop"`
	Price    int64  `json:"price"`
	Discount int64  `json:"discount,omitempty"`
}

func TestStale(t *testing.T) {
	t.Parallel()
	now := documents(t, catalogOf(t, declare(1, func(s sold) string { return s.ID })))
	require.Empty(t, contract.Stale(now, now))
	require.Equal(t, []string{"orders.sold/v1.json"}, contract.Stale(nil, now))
	committed, err := schema.Parse("orders.sold/v1.json", now[0].JSON())
	require.NoError(t, err)
	committed.Schema.Description = "Something else."
	require.Equal(t, []string{"orders.sold/v1.json"}, contract.Stale([]*schema.Document{committed}, now))
}

func TestVerdictAsJSON(t *testing.T) {
	t.Parallel()
	encoded, err := json.Marshal(contract.Verdict{Type: "a.b", Version: 1, Mode: "FULL", Status: contract.Incompatible, Problems: []contract.Problem{{Rule: "key-changed", Message: "m"}}})
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"a.b","version":1,"mode":"FULL","status":"incompatible","problems":[{"rule":"key-changed","message":"m"}]}`, string(encoded))
}
