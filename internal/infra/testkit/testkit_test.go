package testkit_test

import (
	"context"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/schema"
	"example.com/millwright/internal/infra/outbox"
	"example.com/millwright/internal/infra/testkit"
)

type happened struct {
	ID string `json:"id"`
}

func TestEvent(t *testing.T) {
	t.Parallel()
	a, b := testkit.Event(happened{ID: "1"}), testkit.Event(happened{ID: "1"})
	require.Equal(t, "1", a.Data.ID)
	require.NotEqual(t, a.ID, b.ID)
	require.Equal(t, "testkit_test.happened", a.Type)
}

func TestPublished(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		catalog, err := envelope.NewCatalog(envelope.Type[happened]{
			Name: "things.happened", Version: 1, Topic: "things", Owner: "tests", Key: func(h happened) string { return h.ID },
		})
		require.NoError(t, err)
		require.Empty(t, testkit.Published(t, db))
		publisher := outbox.NewPublisher(db, catalog, "testkit", outbox.PublisherConfig{})
		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			return publisher.Publish(ctx, tx, happened{ID: "1"}, happened{ID: "2"})
		}))
		published := testkit.Published(t, db)
		require.Len(t, published, 2)
		require.Equal(t, "things.happened", published[0].Type)
		require.Equal(t, "1", published[0].PartitionKey)
		require.JSONEq(t, `{"id":"2"}`, string(published[1].Data))
	})
}

func TestPublisherIsStrict(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		catalog, err := envelope.NewCatalog(envelope.Type[limited]{Name: "things.limited", Version: 1, Topic: "things", Owner: "tests", Key: func(l limited) string { return l.ID }})
		require.NoError(t, err)
		documents, err := schema.Generate(catalog, "")
		require.NoError(t, err)
		publisher := testkit.Publisher(t, db, catalog, fstest.MapFS{documents[0].Path(): &fstest.MapFile{Data: documents[0].JSON()}})
		publish := func(n int) error {
			return db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
				return publisher.Publish(ctx, tx, limited{ID: "1", N: n})
			})
		}
		require.NoError(t, publish(9))
		require.ErrorIs(t, publish(10), envelope.ErrPayload)
		require.Len(t, testkit.Published(t, db), 1)
	})
}

type limited struct {
	ID string `json:"id"`
	N  int    `json:"n" jsonschema:"maximum=9"`
}
