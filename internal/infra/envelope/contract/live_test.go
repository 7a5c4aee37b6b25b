package contract_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/contract"
	"example.com/millwright/internal/infra/outbox"
)

// What is stored was written by older and newer builds, by other services, and by
// somebody who doesn't know CloudEvents.
func TestCheckLive(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		catalog := catalogOf(t, declare(2, func(s soldWithCurrency) string { return s.ID }, func(d *envelope.Type[soldWithCurrency]) {
			d.Upcasters = []envelope.Upcaster{envelope.Upcast(1, func(s sold) (soldWithCurrency, error) {
				if s.Price < 0 {
					return soldWithCurrency{}, fmt.Errorf("a price of %d", s.Price)
				}
				return soldWithCurrency{ID: s.ID}, nil
			})}
		}))
		dead := deadletter.NewStore(db, deadletter.Config{}, slog.New(slog.DiscardHandler))
		store := outbox.NewStore(db)
		tables := append(store.Tables(), sqlqueue.Table(db), dead.Table())

		// The queue's tables are not there yet.
		empty, err := contract.CheckLive(t.Context(), catalog, 10, 10, tables...)
		require.NoError(t, err)
		require.Zero(t, empty.Failed())
		_, err = db.Migrate(t.Context(), sqlqueue.Migrations())
		require.NoError(t, err)

		queue := sqlqueue.NewLocal(db, sqlqueue.Config{}, slog.New(slog.DiscardHandler))
		t.Cleanup(func() { require.NoError(t, queue.Close()) })
		require.NoError(t, queue.EnsureTopics(t.Context(), "orders"))
		put := func(payload string) {
			m := message.NewMessageWithContext(t.Context(), "m", []byte(payload))
			m.Metadata.Set(broker.PartitionKey, "k")
			require.NoError(t, queue.Publisher().Publish("orders", m))
		}
		event := func(eventType string, version, fallback int, data string) string {
			encoded, err := envelope.Envelope{
				Header: envelope.Header{ID: "1", Source: "s", Type: eventType, SchemaVersion: version, FallbackVersion: fallback}, Data: []byte(data),
			}.MarshalJSON()
			require.NoError(t, err)
			return string(encoded)
		}
		for range 3 {
			put(event("orders.sold", 1, 0, `{"id":"a","shop":"b","price":3}`))
		}
		put(event("orders.sold", 1, 0, `{"id":"a","shop":"b","price":-3}`))
		put(event("orders.sold", 3, 0, `{}`))
		put(event("orders.sold", 3, 2, `{}`)) // comes in version 2 as well
		put(event("people.moved", 1, 0, `{}`))
		put(`hello`)
		require.NoError(t, db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
			return outbox.NewPublisher(db, catalog, "shop", outbox.PublisherConfig{}).Publish(ctx, tx, soldWithCurrency{ID: "a"})
		}))
		letter := message.NewMessageWithContext(t.Context(), "m", []byte(event("people.moved", 1, 0, `{}`)))
		require.NoError(t, dead.Publish("consumer", letter))

		live, err := contract.CheckLive(t.Context(), catalog, 1000, 2, tables...)
		require.NoError(t, err)
		require.Equal(t, []contract.LiveTable{{"outbox", 1, 1}, {"outbox_sent", 0, 0}, {"queue_log", 8, 8}, {"dead_letters", 1, 1}}, live.Tables)
		require.Equal(t, []contract.LiveType{
			{Unreadable: 1},
			{Type: "orders.sold", Version: 1, Readable: 3, Unreadable: 1},
			{Type: "orders.sold", Version: 2, Readable: 1},
			{Type: "orders.sold", Version: 3, Readable: 1, Unreadable: 1},
			{Type: "people.moved", Version: 1, Foreign: 1, Unreadable: 1},
		}, live.Types, "another service's event in the queue is its business, a dead letter is ours")
		require.EqualValues(t, 4, live.Failed())
		require.Len(t, live.Unreadable, 2)
		require.Equal(t, "queue_log", live.Unreadable[0].Table)
		require.Contains(t, live.Unreadable[0].Error, "the upcaster from version 1 refuses it: a price of -3")

		half, err := contract.CheckLive(t.Context(), catalog, 4, 0, sqlqueue.Table(db))
		require.NoError(t, err)
		require.EqualValues(t, 8, half.Tables[0].Rows)
		require.EqualValues(t, 4, half.Tables[0].Read)
	})
}
