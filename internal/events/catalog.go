// Package events holds the events that this service publishes or handles, one
// file a family, and the catalog that lists them.
//
// A payload type that has been published is never changed in place: a new
// version becomes the type, and the old one stays as <Name>V<n> with an
// upcaster.
package events

import (
	"embed"
	"io/fs"

	"example.com/millwright/internal/infra/envelope"
)

//go:generate go run example.com/millwright/cmd/service events generate --dir .

//go:embed schemas
var schemas embed.FS

// Schemas holds the committed JSON Schemas: <event type>/v<version>.json.
func Schemas() fs.FS {
	dir, err := fs.Sub(schemas, "schemas")
	if err != nil {
		panic(err) // only if the name above is no path
	}
	return dir
}

// Catalog lists every event type. An event that isn't here can be neither
// published nor handled.
func Catalog() (*envelope.Catalog, error) {
	return envelope.NewCatalog(
		envelope.Type[OrderPlaced]{
			Name: "orders.placed", Version: 2, Topic: "orders", Owner: "orders team",
			Key:       func(e OrderPlaced) string { return e.OrderID },
			Upcasters: []envelope.Upcaster{envelope.Upcast(1, OrderPlacedV1.upcast)},
		},
		envelope.Type[OrderCancelled]{
			Name: "orders.cancelled", Version: 1, Topic: "orders", Owner: "orders team",
			Key: func(e OrderCancelled) string { return e.OrderID },
		},
	)
}
