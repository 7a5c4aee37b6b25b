package cloudevents_test

import (
	"encoding/json"
	"testing"
	"testing/fstest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/schema"
)

// order has a payload of about 300 bytes.
type order struct {
	OrderID  string    `json:"order_id"`
	Customer string    `json:"customer"`
	Email    string    `json:"email"`
	Items    []line    `json:"items"`
	PlacedAt time.Time `json:"placed_at"`
}

type line struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
}

var orders = envelope.Type[order]{
	Name: "orders.placed", Version: 2, Topic: "orders", Owner: "benchmark",
	Key: func(o order) string { return o.OrderID },
}

var placed = order{
	OrderID: "0197f5d0-0000-7000-8000-000000000001", Customer: "Ada Lovelace", Email: "ada@example.com",
	Items:    []line{{"cup", 2, 1200}, {"plate", 6, 900}, {"bowl", 4, 700}},
	PlacedAt: time.Date(2026, 11, 24, 10, 0, 0, 123456000, time.UTC),
}

// schemas are what VALIDATE=on checks payloads against.
func schemas(b *testing.B, catalog *envelope.Catalog) *schema.Set {
	b.Helper()
	documents, err := schema.Generate(catalog, "")
	require.NoError(b, err)
	files := fstest.MapFS{}
	for _, d := range documents {
		files[d.Path()] = &fstest.MapFile{Data: d.JSON()}
	}
	set, err := schema.NewSet(catalog, files)
	require.NoError(b, err)
	return set
}

// The cost of an event of 300 bytes: this project's envelope and the CloudEvents
// SDK for Go on the same event.
func BenchmarkEnvelope(b *testing.B) {
	data, err := json.Marshal(placed)
	require.NoError(b, err)
	require.InDelta(b, 300, len(data), 20)
	ours := envelope.Envelope{
		Header: envelope.Header{
			ID: "0197f5d0-0000-7000-8000-000000000000", Source: "orders", Type: "orders.placed", Time: placed.PlacedAt,
			SchemaVersion: 2, PartitionKey: placed.OrderID, CorrelationID: "0197f5d0-0000-7000-8000-000000000000",
			TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		},
		Data: data,
	}
	m, err := ours.Message()
	require.NoError(b, err)
	catalog, err := envelope.NewCatalog(orders)
	require.NoError(b, err)
	var theirs ce.Event
	require.NoError(b, json.Unmarshal(m.Payload, &theirs))

	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("header/millwright", func() error {
		_, err := envelope.FromMessage(m)
		return err
	})
	run("header/sdk-go", func() error {
		var e ce.Event
		return e.UnmarshalJSON(m.Payload)
	})
	run("decode/millwright", func() error {
		e, err := envelope.FromMessage(m)
		if err != nil {
			return err
		}
		_, err = catalog.Decode(e)
		return err
	})
	run("decode/sdk-go", func() error {
		var e ce.Event
		if err := e.UnmarshalJSON(m.Payload); err != nil {
			return err
		}
		var o order
		return e.DataAs(&o)
	})
	run("encode/millwright", func() error {
		_, err := ours.Message()
		return err
	})
	run("encode/sdk-go", func() error {
		_, err := theirs.MarshalJSON()
		return err
	})
	set := schemas(b, catalog)
	run("validate/millwright", func() error { return set.Validate(ours) })
	run("payload alone/encoding-json", func() error {
		var o order
		return json.Unmarshal(data, &o)
	})
}
