package events_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/envelope"
)

var placedAt = time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)

func decode(t *testing.T, eventType string, version int, data string) (any, error) {
	t.Helper()
	catalog, err := events.Catalog()
	require.NoError(t, err)
	return catalog.Decode(envelope.Envelope{
		Header: envelope.Header{ID: "1", Type: eventType, SchemaVersion: version},
		Data:   json.RawMessage(data),
	})
}

func TestOrderPlacedVersion1IsUpcast(t *testing.T) {
	t.Parallel()
	got, err := decode(t, "orders.placed", 1,
		`{"order_id":"o1","customer":"Ada","email":"ada@example.com","sku":"tea","quantity":2,"unit_price":450,"placed_at":"2026-03-01T12:30:00Z"}`)
	require.NoError(t, err)
	require.Equal(t, events.OrderPlaced{
		OrderID: "o1", Customer: "Ada", Email: "ada@example.com", PlacedAt: placedAt,
		Items: events.Items{{SKU: "tea", Quantity: 2, UnitPrice: 450}},
	}, got)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	catalog, err := events.Catalog()
	require.NoError(t, err)
	items := events.Items{{SKU: "tea", Quantity: 2, UnitPrice: 450}, {SKU: "cup", Quantity: 1}}
	for _, payload := range []any{
		events.OrderPlaced{OrderID: "o1", Customer: "Ada", Email: "ada@example.com", Items: items, PlacedAt: placedAt},
		events.OrderCancelled{OrderID: "o1", Items: items, PlacedAt: placedAt, CancelledAt: placedAt.Add(time.Hour)},
	} {
		entry, err := catalog.OfPayload(reflect.TypeOf(payload))
		require.NoError(t, err)
		require.Equal(t, "orders", entry.Topic)
		require.Equal(t, "o1", entry.Key(payload))
		data, err := json.Marshal(payload)
		require.NoError(t, err)
		got, err := decode(t, entry.Name, entry.Version, string(data))
		require.NoError(t, err)
		require.Equal(t, payload, got)
	}
}

func TestVersion2IsNotVersion1(t *testing.T) {
	t.Parallel()
	_, err := decode(t, "orders.placed", 2, `{"order_id":"o1","sku":"tea"}`)
	require.EqualError(t, err, `envelope: unknown fields: version 2 of orders.placed has no field "sku": `+
		`did its producer change it without a new version? (orders.placed v2, id "1")`)
}

func TestSums(t *testing.T) {
	t.Parallel()
	items := events.Items{{SKU: "tea", Quantity: 2, UnitPrice: 450}, {SKU: "cup", Quantity: 3, UnitPrice: 0}, {SKU: "tea", Quantity: 1, UnitPrice: 100}}
	require.EqualValues(t, 6, items.Units())
	require.EqualValues(t, 1000, items.Total())
}
