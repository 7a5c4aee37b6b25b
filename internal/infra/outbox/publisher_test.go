package outbox_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/outbox"
)

func TestNoEventWithoutItsChange(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		changedMind := errors.New("changed my mind")
		err := db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			require.NoError(t, b.out.Publish(ctx, tx, opened{Account: "a"}))
			return changedMind
		})
		require.ErrorIs(t, err, changedMind)
		require.Zero(t, b.status().Unsent)
		b.publish(opened{Account: "a"})
		require.EqualValues(t, 1, b.status().Unsent)
	})
}

func TestPublishKeepsOrderOverTopics(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		b.publish(opened{Account: "a", N: 1}, shipped{Parcel: "p"}, opened{Account: "a", N: 2})
		b.publish() // nothing is fine
		require.Equal(t, 3, forwardAll(t, b.forwarder(outbox.Config{})))
		require.Equal(t, []string{`{"account":"a","n":1}`, `{"account":"a","n":2}`}, b.broker.of("accounts/a"))
		require.Equal(t, []string{`{"parcel":"p"}`}, b.broker.of("parcels/p"))
	})
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		publish := func(ctx context.Context, payload any) error {
			return db.InTx(ctx, func(ctx context.Context, tx database.Tx) error { return b.out.Publish(ctx, tx, payload) })
		}
		err := publish(t.Context(), "a string")
		require.ErrorIs(t, err, envelope.ErrUnknownType)
		require.EqualError(t, err, "outbox: publish: envelope: unknown event type: string is not the payload of a type in the catalog: add it to internal/events/catalog.go")
		require.ErrorIs(t, publish(t.Context(), nil), envelope.ErrUnknownType)
		require.ErrorIs(t, publish(t.Context(), &opened{}), envelope.ErrUnknownType, "a pointer is another type")

		deep := envelope.NewContext(t.Context(), envelope.Header{ID: "x", Depth: envelope.MaxDepth})
		require.ErrorIs(t, publish(deep, opened{}), envelope.ErrTooDeep)
		require.Zero(t, b.status().Unsent)
	})
}
