package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/infra/envelope/registry"
	"example.com/millwright/internal/infra/envelope/registry/registrytest"
)

// TestEventsPublish publishes a schema, and a change of it that breaks.
func TestEventsPublish(t *testing.T) {
	t.Parallel()
	client, err := registry.New(registry.Config{URL: registrytest.Start(t).URL})
	require.NoError(t, err)
	schema := func(name, text string) registry.Schema {
		return registry.Schema{EventType: name, Version: 1, Text: []byte(text), Compatibility: "BACKWARD"}
	}
	publish := func(c eventsPublish, schemas ...registry.Schema) (string, error) {
		var out bytes.Buffer
		err := c.publish(t.Context(), app.Registry{Client: client, Schemas: schemas}, streams{out: &out})
		return out.String(), err
	}
	ask := eventsPublish{outputFlag{"table"}, true}
	do := eventsPublish{outputFlag{"table"}, false}
	sent, lost := schema("sent", `{"type": "object"}`), schema("lost", `{"type": "object"}`)
	breaking := schema("sent", `{"type": "object", "required": ["weight"]}`)

	out, err := publish(ask, sent)
	require.NoError(t, err)
	require.Equal(t, "SUBJECT  STATE  LEVEL  REASONS\nsent.v1  new    -      -\n", out)

	out, err = publish(do, sent)
	require.NoError(t, err)
	require.Equal(t, "SUBJECT  STATE  VERSION  ID\nsent.v1  new    1        1\n", out)

	out, err = publish(ask, lost, breaking)
	require.ErrorIs(t, err, registry.ErrIncompatible)
	require.EqualError(t, err, "events publish: incompatible: sent.v1: make the change one that its level allows, or a new version of the event")
	require.Equal(t, exitFailed, exitCode(err))
	require.Equal(t, "SUBJECT  STATE         LEVEL     REASONS\nlost.v1  new           -         -\nsent.v1  incompatible  BACKWARD  REQUIRED_PROPERTY_ADDED at #/weight\n", out)

	out, err = publish(do, breaking, sent, lost)
	require.ErrorIs(t, err, registry.ErrIncompatible)
	require.Equal(t, exitFailed, exitCode(err))
	require.Equal(t, "SUBJECT  STATE  VERSION  ID\nsent.v1  known  1        1\nlost.v1  new    1        1\n", out)

	out, err = publish(eventsPublish{outputFlag{"json"}, false}, sent)
	require.NoError(t, err)
	var printed []registry.Registered
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	require.Equal(t, []registry.Registered{{EventType: "sent", SchemaVersion: 1, Subject: "sent.v1", ID: 1, Version: 1}}, printed)
}

func TestEventsPublishNowhere(t *testing.T) {
	t.Parallel()
	err := eventsPublish{}.publish(t.Context(), app.Registry{}, streams{})
	require.EqualError(t, err, "events publish: the settings don't fit together: SCHEMA_REGISTRY_URL is not set: give http://host:8081 or https://user:password@host")
	require.Equal(t, exitUsage, exitCode(err))
}
