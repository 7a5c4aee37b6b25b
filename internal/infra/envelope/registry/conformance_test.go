package registry_test

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/millwright/internal/infra/envelope/registry"
	"example.com/millwright/internal/infra/envelope/registry/registrytest"
)

const draft2020 = "https://json-schema.org/draft/2020-12/schema"

func TestConformanceInProcess(t *testing.T) {
	t.Parallel()
	registrytest.Run(t, registrytest.Harness{URL: registrytest.Start(t).URL, Dialect: draft2020})
}

// TestConformanceApicurio runs the suite on a registry that others have made.
func TestConformanceApicurio(t *testing.T) {
	t.Parallel()
	registrytest.Run(t, registrytest.Harness{URL: apicurio(t), Silent: true})
}

// TestApicurioDoesNotCompareDraft2020 holds the registry to what
// docs/operations.md says of it. If this fails, the page has to change.
func TestApicurioDoesNotCompareDraft2020(t *testing.T) {
	t.Parallel()
	client, err := registry.New(registry.Config{URL: apicurio(t)})
	require.NoError(t, err)
	name := "parcels." + strings.ToLower(rand.Text())
	schema := func(level, properties string) registry.Schema {
		return registry.Schema{EventType: name, Version: 1, Compatibility: level,
			Text: []byte(`{"$schema": "` + draft2020 + `", "type": "object", "properties": {` + properties + `}}`)}
	}
	first, changed := schema("BACKWARD", ""), schema("BACKWARD", `"note": {"type": "string"}`)
	_, err = client.Publish(t.Context(), first)
	require.NoError(t, err, "the first text is registered")
	_, err = client.Publish(t.Context(), first)
	require.NoError(t, err, "and known")
	_, err = client.Publish(t.Context(), changed)
	require.ErrorContains(t, err, "answered 500: ")
	require.NotErrorIs(t, err, registry.ErrUnavailable, "other schemas are tried")
	_, err = client.Publish(t.Context(), schema("NONE", `"note": {"type": "string"}`))
	require.NoError(t, err)
}

// TestServerAgreesWithApicurio compares the verdicts of the registry that tests
// use with those of one that others have made.
func TestServerAgreesWithApicurio(t *testing.T) {
	t.Parallel()
	clients := []*registry.Registry{connect(t, registry.Config{URL: registrytest.Start(t).URL}), connect(t, registry.Config{URL: apicurio(t)})}
	object := rapid.Custom(func(t *rapid.T) string {
		properties, required := map[string]any{}, []string{}
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.ID).Draw(t, "properties") {
			properties[name] = map[string]any{"type": rapid.SampledFrom([]string{"string", "boolean"}).Draw(t, "type")}
			if rapid.Bool().Draw(t, "required") {
				required = append(required, name)
			}
		}
		text, err := json.Marshal(map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false})
		require.NoError(t, err)
		return string(text)
	})
	seen := map[registry.State]int{}
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.SampledFrom([]string{"BACKWARD", "FORWARD", "FULL"}).Draw(t, "level")
		before, after := object.Draw(t, "before"), object.Draw(t, "after")
		schema := registry.Schema{EventType: "parcels." + rand.Text(), Version: 1, Text: []byte(before), Compatibility: level}
		var states []registry.State
		for _, client := range clients {
			_, err := client.Publish(t.Context(), schema)
			require.NoError(t, err)
			changed := schema
			changed.Text = []byte(after)
			verdicts, err := client.Check(t.Context(), changed)
			require.NoError(t, err)
			states = append(states, verdicts[0].State)
		}
		require.Equal(t, states[1], states[0], "%s, from %s to %s", level, before, after)
		seen[states[0]]++
	})
	require.NotZero(t, seen[registry.StateCompatible])
	require.NotZero(t, seen[registry.StateIncompatible])
}

// apicurio is what .ci/registry has started.
func apicurio(t *testing.T) string {
	t.Helper()
	url := os.Getenv("TEST_REGISTRY_URL")
	if url == "" {
		require.NotEqual(t, "1", os.Getenv("REQUIRE_SERVICES"), "TEST_REGISTRY_URL is not set, and REQUIRE_SERVICES=1 forbids skipping")
		t.Skip("no schema registry: set TEST_REGISTRY_URL to run this test")
	}
	return url
}
