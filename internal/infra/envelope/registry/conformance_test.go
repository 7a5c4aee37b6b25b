package registry_test

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
