// Package testkit is what the tests of a handler need.
package testkit

import (
	"encoding/json"
	"io/fs"
	"reflect"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/schema"
	"example.com/millwright/internal/infra/outbox"
)

// Event returns a new event with the payload and a filled header, as a handler
// gets it. Its Type is the payload's Go type, for want of a catalog.
func Event[T any](payload T) envelope.Event[T] {
	id := uuid.Must(uuid.NewV7()).String()
	return envelope.Event[T]{
		Header: envelope.Header{
			ID: id, Source: "testkit", Type: reflect.TypeFor[T]().String(), Time: time.Now().UTC(),
			SchemaVersion: 1, PartitionKey: id, CorrelationID: id,
		},
		Data: payload,
	}
}

// Publisher returns a publisher that is as strict as in development: it refuses
// what a handler has not declared, and what doesn't match the committed schemas.
func Publisher(t *testing.T, db *database.DB, catalog *envelope.Catalog, schemas fs.FS) *outbox.Publisher {
	t.Helper()
	set, err := schema.NewSet(catalog, schemas)
	require.NoError(t, err)
	return outbox.NewPublisher(db, catalog, "testkit", outbox.PublisherConfig{Validate: set.Validate})
}

// Published returns the events that wait in the outbox, in the order in which they
// were written. In a handler's own test, where nothing forwards them, these are
// all.
func Published(t *testing.T, db *database.DB) []envelope.Envelope {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT event_id, metadata, payload FROM outbox ORDER BY id`)
	require.NoError(t, err)
	defer rows.Close()
	var published []envelope.Envelope
	for rows.Next() {
		var id, metadata string
		var payload []byte
		require.NoError(t, rows.Scan(&id, &metadata, &payload))
		m := message.NewMessage(id, payload)
		require.NoError(t, json.Unmarshal([]byte(metadata), &m.Metadata))
		e, err := envelope.FromMessage(m)
		require.NoError(t, err)
		published = append(published, e)
	}
	require.NoError(t, rows.Err())
	return published
}
