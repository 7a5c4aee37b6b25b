package contract_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/contract"
	"example.com/millwright/internal/infra/envelope/schema"
)

// grown is recursive: its schema has definitions.
type grown struct {
	Name     string  `json:"name"`
	Branches []grown `json:"branches,omitempty"`
}

func describe(t *testing.T, broker string, types ...envelope.Declaration) (contract.Service, *envelope.Catalog, *schema.Set) {
	t.Helper()
	catalog := catalogOf(t, types...)
	dir := fstest.MapFS{}
	for _, d := range documents(t, catalog) {
		dir[d.Path()] = &fstest.MapFile{Data: d.JSON()}
	}
	set, err := schema.NewSet(catalog, dir)
	require.NoError(t, err)
	service, err := contract.Describe("shop", "v1.2.3", broker, catalog, set, parties{})
	require.NoError(t, err)
	return service, catalog, set
}

func twoTypes() []envelope.Declaration {
	return []envelope.Declaration{
		declare(2, func(s soldWithCurrency) string { return s.ID }, func(d *envelope.Type[soldWithCurrency]) {
			d.Upcasters = []envelope.Upcaster{envelope.Upcast(1, func(s sold) (soldWithCurrency, error) { return soldWithCurrency{ID: s.ID}, nil })}
		}),
		envelope.Type[grown]{Name: "trees.grown", Version: 1, Topic: "trees", Owner: "foresters", Key: func(g grown) string { return g.Name + "!" }},
	}
}

// Every example is an event that this build reads, and valid by its schema.
func TestExamples(t *testing.T) {
	t.Parallel()
	service, catalog, set := describe(t, "sqlqueue", twoTypes()...)
	examples := 0
	for _, e := range service.Events {
		for _, v := range e.Versions {
			var event envelope.Envelope
			require.NoError(t, json.Unmarshal(v.Example, &event))
			require.Equal(t, v.Version, event.SchemaVersion)
			require.NotEmpty(t, event.PartitionKey)
			require.NoError(t, set.Validate(event))
			_, err := catalog.Decode(event)
			require.NoError(t, err)
			examples++
		}
	}
	require.Equal(t, 3, examples)
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	service, _, _ := describe(t, "sqlqueue", twoTypes()...)
	var out strings.Builder
	require.NoError(t, service.Markdown(&out))
	for _, part := range []string{
		"# Events of shop\n\n## orders.sold\n\n- topic: `orders`\n- partition key: `/id`\n- owner: us\n- compatibility: BACKWARD\n- published by: shop-api\n- handled by: ship, bill\n",
		"### Version 2 (current)\n\n| field | type | required | |\n|---|---|---|---|\n| `id` | string | yes |  |\n",
		"### Version 1\n",
		"## trees.grown\n\n- topic: `trees`\n- partition key: computed from the payload\n",
		"| `branches` | array of grown | no |  |\n",
	} {
		require.Contains(t, out.String(), part)
	}
}

// What the official parser thinks of the service's own document is checked in CI.
func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	for _, broker := range []string{"sqlqueue", "kafka"} {
		service, _, _ := describe(t, broker, twoTypes()...)
		encoded, err := service.AsyncAPI()
		require.NoError(t, err)
		var document map[string]any
		require.NoError(t, yaml.Unmarshal(encoded, &document))
		get := func(path ...string) any {
			var at any = document
			for _, key := range path {
				at = at.(map[string]any)[key]
			}
			return at
		}
		require.Equal(t, "3.0.0", get("asyncapi"))
		require.Equal(t, "v1.2.3", get("info", "version"))
		require.Equal(t, map[string]any{"$ref": "#/components/messages/orders.sold.v1"}, get("channels", "orders", "messages", "orders.sold.v1"))
		require.Equal(t, "send", get("operations", "shop-api.send.orders", "action"))
		require.Len(t, get("operations", "shop-api.send.orders", "messages"), 1, "the current version is published")
		require.Len(t, get("operations", "bill.receive.orders", "messages"), 2, "both are read")
		require.Equal(t, "#/components/schemas/trees.grown.v1.grown", get("components", "schemas", "trees.grown.v1.grown", "properties", "branches", "items", "$ref"),
			"references are to the whole document")
		require.Equal(t, 2, get("components", "messages", "orders.sold.v2", "payload", "properties", "schemaversion", "const"))
		if broker == "kafka" {
			require.Equal(t, "orders", get("channels", "orders", "bindings", "kafka", "topic"))
			require.Contains(t, get("components", "messages", "orders.sold.v2", "bindings", "kafka"), "key")
		} else {
			require.NotContains(t, get("channels", "orders"), "bindings")
		}
		require.NotContains(t, string(encoded), "#/$defs")
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	service, _, set := describe(t, "sqlqueue", twoTypes()...)
	handler, err := service.Handler()
	require.NoError(t, err)
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return w
	}
	page := get("/schemas")
	require.Equal(t, "text/html; charset=utf-8", page.Header().Get("Content-Type"))
	require.Contains(t, page.Body.String(), `<a href="/schemas/orders.sold/v2.json">JSON Schema</a>`)
	require.Contains(t, page.Body.String(), `&#34;specversion&#34;: &#34;1.0&#34;`, "escaped")
	file := get("/schemas/orders.sold/v1.json")
	require.Equal(t, "application/schema+json", file.Header().Get("Content-Type"))
	require.Equal(t, string(set.Document("orders.sold", 1).JSON()), file.Body.String())
	require.Equal(t, "application/yaml", get("/asyncapi.yaml").Header().Get("Content-Type"))
	require.Equal(t, http.StatusNotFound, get("/schemas/orders.sold/v3.json").Code)
}
