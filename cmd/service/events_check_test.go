package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/app/apptest"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/registry/registrytest"
)

// schemasBefore is a directory with the committed schemas, changed: what the
// check takes for the last release.
func (b *bundle) schemasBefore(file string, replace ...string) string {
	b.t.Helper()
	dir := filepath.Join(b.dir, "before")
	require.NoError(b.t, os.CopyFS(dir, os.DirFS(committed)))
	if file != "" {
		path := filepath.Join(dir, filepath.FromSlash(file))
		before, err := os.ReadFile(path)
		require.NoError(b.t, err)
		changed := strings.NewReplacer(replace...).Replace(string(before))
		require.NotEqual(b.t, changed, string(before))
		require.NoError(b.t, os.WriteFile(path, []byte(changed), 0o644))
	}
	return dir
}

const (
	eventsDir = "../../internal/events"
	committed = eventsDir + "/schemas"
)

func (b *bundle) check(args ...string) result {
	b.t.Helper()
	dir, err := filepath.Abs(eventsDir)
	require.NoError(b.t, err)
	return b.run(append([]string{"events", "check", "--dir", dir}, args...)...)
}

func TestEventsCheck(t *testing.T) {
	t.Parallel()
	const rest = "info: longest chain of events (1): orders.cancelled\n"
	for name, c := range map[string]struct {
		file    string
		replace []string
		want    result
	}{
		"unchanged": {"", nil, result{out: "orders.cancelled v1: unchanged\norders.placed v1: unchanged\norders.placed v2: unchanged\n" + rest}},
		"a wider field": {
			"orders.placed/v2.json", []string{`"minItems": 1`, `"minItems": 2`},
			result{out: "orders.cancelled v1: unchanged\norders.placed v1: unchanged\n" +
				"orders.placed v2: compatible (BACKWARD): field \"items\": number of items 2 or more became 1 or more\n" +
				"  handled by: reserve-stock, sales-report, send-confirmation\n" + rest},
		},
		"a field is gone": {
			"orders.placed/v2.json", []string{`"customer": {`, `"gift_note": { "type": "string" }, "customer": {`},
			result{code: exitFailed, err: "service: contracts are broken\n", out: "orders.cancelled v1: unchanged\norders.placed v1: unchanged\n" +
				"orders.placed v2: incompatible (BACKWARD): field \"gift_note\" removed\n" +
				"  property-unknown: An old event may hold \"gift_note\", which the new schema doesn't know and refuses.\n" +
				"    such as EXAMPLE\n" +
				"  handled by: reserve-stock, sales-report, send-confirmation\n" +
				"  way out: make it a new version, with an upcaster from version 2: go run ./scaffold version orders.placed\n" + rest},
		},
		"another key": {
			"orders.cancelled/v1.json", []string{`"x-partition-key": "/order_id"`, `"x-partition-key": "/customer"`},
			result{code: exitFailed, err: "service: contracts are broken\n", out: "orders.cancelled v1: incompatible (BACKWARD)\n" +
				"  key-changed: the partition key was /customer and is /order_id: events of what used to be one key overtake each other\n" +
				"  handled by: reserve-stock, sales-report\n" +
				"  way out: make it a new version, with an upcaster from version 1: go run ./scaffold version orders.cancelled\n" +
				"orders.placed v1: unchanged\norders.placed v2: unchanged\n" + rest},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onSQLite(t)
			got := b.check("--against", b.schemasBefore(c.file, c.replace...))
			lines := strings.Split(got.out, "\n")
			for i, line := range lines {
				if example, found := strings.CutPrefix(line, "    such as "); found {
					require.True(t, json.Valid([]byte(example)), line)
					lines[i] = "    such as EXAMPLE"
				}
			}
			got.out = strings.Join(lines, "\n")
			require.Equal(t, c.want, got)
		})
	}
}

func TestEventsCheckAsJSON(t *testing.T) {
	t.Parallel()
	b := onSQLite(t)
	got := b.check("-o", "json", "--against", b.schemasBefore("orders.placed/v2.json", `"format": "date-time"`, `"format": "date"`))
	require.Equal(t, exitFailed, got.code)
	var report struct {
		OK       bool
		Verdicts []struct {
			Type, Status string
			Version      int
			Consumers    []string
			Problems     []struct{ Rule, Pointer, Message string }
			WayOut       string `json:"way_out"`
		}
		Findings []struct{ Severity string }
	}
	require.NoError(t, json.Unmarshal([]byte(got.out), &report))
	require.False(t, report.OK)
	require.Len(t, report.Verdicts, 3)
	require.Equal(t, "incompatible", report.Verdicts[2].Status)
	require.Equal(t, "format-changed", report.Verdicts[2].Problems[0].Rule)
	require.Equal(t, "/placed_at", report.Verdicts[2].Problems[0].Pointer)
	require.NotEmpty(t, report.Findings)
}

// Without --against it is the last commit that counts.
func TestEventsCheckErrors(t *testing.T) {
	t.Parallel()
	b := onSQLite(t)
	b.set("PATH", os.Getenv("PATH"))
	require.Contains(t, b.run("events", "check").err, "there are no schemas in internal/events/schemas: run this in the repository's root, or say with --dir")

	stale := filepath.Join(b.dir, "events")
	require.NoError(t, os.CopyFS(stale, os.DirFS(eventsDir)))
	orders := filepath.Join(stale, "orders.go")
	source, err := os.ReadFile(orders)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(orders, []byte(strings.ReplaceAll(string(source), "// Customer is ", "// Customer was ")), 0o644))
	require.Equal(t, result{code: exitFailed, err: "service: orders.placed/v1.json, orders.placed/v2.json: the committed schemas are not up to date: run `go generate ./...`\n"},
		b.run("events", "check", "--dir", "events"))
	require.Equal(t, "wrote events/schemas/orders.placed/v1.json\nwrote events/schemas/orders.placed/v2.json\n", b.must("events", "generate", "--dir", "events"))
	require.Empty(t, b.must("events", "generate", "--dir", "events"), "nothing is left to write")

	got := b.run("events", "check", "--dir", "events", "--against", "origin/none")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, `there is no commit "origin/none" to compare events/schemas with`)
}

// The registry's opinion counts as well.
func TestEventsCheckAsksTheRegistry(t *testing.T) {
	t.Parallel()
	server := registrytest.Start(t)
	b := onSQLite(t)
	b.set("SCHEMA_REGISTRY_URL", server.URL)
	before := b.schemasBefore("")
	require.Contains(t, b.check("--against", before).out, "registry: orders.placed.v2: new\n")
	require.Contains(t, b.must("events", "publish"), "orders.placed.v2")
	require.Contains(t, b.check("--against", before).out, "registry: orders.placed.v2: known\n")

	b.set("SCHEMA_REGISTRY_REQUIRED", "true")
	p := b.serve()
	p.stop()
	other := onSQLite(t)
	other.set("SCHEMA_REGISTRY_URL", registrytest.Start(t).URL)
	other.set("SCHEMA_REGISTRY_REQUIRED", "true")
	got := other.run()
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "run `service events publish`")
}

// TestEventsCheckLive asks whether this build can read what is stored, before it
// is deployed: the database may not have been migrated, or not even exist.
func TestEventsCheckLive(t *testing.T) {
	t.Parallel()
	for name, on := range map[string]func(*testing.T) *bundle{"sqlite": onSQLite, "postgres": onPostgres, "two databases": onTwoDatabases} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := on(t)
			require.Contains(t, b.must("events", "check", "--live"), "EVENT  READABLE  UNREADABLE  OF OTHERS\n")
			p := b.serve()
			p.call(http.MethodPut, "/stock/tea", `{"quantity":9}`)
			status, _ := p.call(http.MethodPost, "/orders", `{"customer":"Ada","email":"ada@example.com","items":[{"sku":"tea","quantity":1,"unit_price":450}]}`)
			require.Equal(t, http.StatusCreated, status)
			p.stop()
			// Wherever it is; on its way between two databases it may be in both.
			require.Regexp(t, `orders\.placed v2 +[12] +0 +0`, b.must("events", "check", "--live"))

			b.put(envelope.Header{Type: "orders.placed", SchemaVersion: 9}, `{}`)
			got := b.run("events", "check", "--live")
			require.Equal(t, exitFailed, got.code)
			require.Equal(t, "service: this build can't read 1 event of those that are stored\n", got.err)
			require.Contains(t, got.out, "the event has version 9, this build knows 2: deploy a build that knows it, then replay (orders.placed v9, id \"1\")\n")
			require.Contains(t, b.run("events", "check", "--live", "-o", "json").out, `"type": "orders.placed",`)
		})
	}
}

// put stores an event in the queue, as another process would.
func (b *bundle) put(header envelope.Header, data string) {
	b.t.Helper()
	url := b.database
	for _, setting := range b.env {
		if queue, found := strings.CutPrefix(setting, "BROKER_URL="); found {
			url = queue
		}
	}
	db := (&bundle{t: b.t, database: url}).ledger().DB
	header.ID, header.Source, header.PartitionKey = "1", "elsewhere", "o1"
	m, err := envelope.Envelope{Header: header, Data: []byte(data)}.Message()
	require.NoError(b.t, err)
	m.SetContext(b.t.Context())
	queue := sqlqueue.New(db, sqlqueue.Config{}, slog.New(slog.DiscardHandler))
	require.NoError(b.t, queue.EnsureTopics(b.t.Context(), "orders")) // the service may not have come to it
	require.NoError(b.t, queue.Publisher().Publish("orders", m))
	require.NoError(b.t, queue.Close())
}

// TestContractPages looks at what the admin listener says of the events.
func TestContractPages(t *testing.T) {
	t.Parallel()
	b := onSQLite(t)
	p := b.serve()
	get := func(path string) string {
		response, err := http.Get(p.admin + path)
		require.NoError(t, err)
		defer response.Body.Close()
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(body)
	}
	require.Contains(t, get("/"), `<a href="/schemas">events</a>`)
	require.Contains(t, get("/schemas"), "reserve-stock, sales-report, send-confirmation")
	file, err := os.ReadFile(committed + "/orders.placed/v2.json")
	require.NoError(t, err)
	require.Equal(t, string(file), get("/schemas/orders.placed/v2.json"))
	require.Equal(t, b.must("events", "docs", "-o", "asyncapi"), get("/asyncapi.yaml"))
	require.Contains(t, b.must("events", "docs"), "## orders.placed\n")
	p.stop()
}

// TestValidate sends an event that its schema doesn't allow: with VALIDATE=on it
// is a dead letter that says where, without the value.
func TestValidate(t *testing.T) {
	t.Parallel()
	b := onSQLite(t)
	b.set("VALIDATE", "on")
	p := b.serve()
	b.put(envelope.Header{Type: "orders.placed", SchemaVersion: 2},
		`{"order_id":"o1","customer":"Ada","email":"ada@example.com","items":[{"sku":"tea","quantity":-42,"unit_price":1}],"placed_at":"2026-01-02T03:04:05Z"}`)
	want := `envelope: malformed payload: it doesn't match its schema: /items/0/quantity: is below 1 (orders.placed v2, id "1")`
	apptest.Eventually(t, func() string {
		var letters []struct{ Error string }
		require.NoError(t, json.Unmarshal([]byte(b.must("dlq", "list", "-o", "json")), &letters))
		if len(letters) < 3 {
			return "not all three consumers have given up"
		}
		for _, l := range letters {
			require.Equal(t, want, l.Error)
		}
		return ""
	})
	p.stop()
}
