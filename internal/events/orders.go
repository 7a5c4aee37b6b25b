package events

import "time"

// OrderPlaced says that a customer's order was accepted and stored. Nothing is
// reserved, paid or sent yet.
type OrderPlaced struct {
	// OrderID is the order's UUIDv7, and the key within which events stay in order.
	OrderID string `json:"order_id"`
	// Customer is the customer's name as entered.
	Customer string `json:"customer"`
	// Email is the bare address that the customer gave.
	Email string `json:"email"`
	// Items is what was ordered, one or more, as entered: a sku may occur twice.
	Items Items `json:"items" jsonschema:"minItems=1"`
	// PlacedAt is when the order was accepted, in UTC.
	PlacedAt time.Time `json:"placed_at"`
}

// Items are the lines of an order. Whoever publishes them sees to it that
// neither sum overflows.
type Items []Item

// Item is one line of an order.
type Item struct {
	// SKU names the article: letters, digits, '.', '_' and '-'.
	SKU string `json:"sku"`
	// Quantity is how many were ordered, 1 or more.
	Quantity int64 `json:"quantity" jsonschema:"minimum=1"`
	// UnitPrice is the price of one in minor units (cents), 0 or more.
	UnitPrice int64 `json:"unit_price" jsonschema:"minimum=0"`
}

// Units is the sum of the quantities.
func (items Items) Units() (units int64) {
	for _, item := range items {
		units += item.Quantity
	}
	return units
}

// Total is the sum of quantity times price, in minor units.
func (items Items) Total() (total int64) {
	for _, item := range items {
		total += item.Quantity * item.UnitPrice
	}
	return total
}

// OrderPlacedV1 is version 1 of OrderPlaced, from when an order had one line.
type OrderPlacedV1 struct {
	// OrderID is the order's UUIDv7.
	OrderID string `json:"order_id"`
	// Customer is the customer's name as entered.
	Customer string `json:"customer"`
	// Email is the bare address that the customer gave.
	Email string `json:"email"`
	// SKU names the article.
	SKU string `json:"sku"`
	// Quantity is how many were ordered, 1 or more.
	Quantity int64 `json:"quantity" jsonschema:"minimum=1"`
	// UnitPrice is the price of one in minor units (cents), 0 or more.
	UnitPrice int64 `json:"unit_price" jsonschema:"minimum=0"`
	// PlacedAt is when the order was accepted, in UTC.
	PlacedAt time.Time `json:"placed_at"`
}

// upcast makes the one line the first of the items.
func (old OrderPlacedV1) upcast() (OrderPlaced, error) {
	return OrderPlaced{
		OrderID: old.OrderID, Customer: old.Customer, Email: old.Email, PlacedAt: old.PlacedAt,
		Items: Items{{SKU: old.SKU, Quantity: old.Quantity, UnitPrice: old.UnitPrice}},
	}, nil
}

// OrderCancelled says that an order no longer stands. It repeats what was
// ordered and when, so that a consumer can undo its part even if it never got
// as far as handling OrderPlaced.
type OrderCancelled struct {
	// OrderID is the order's UUIDv7.
	OrderID string `json:"order_id"`
	// Items is what had been ordered.
	Items Items `json:"items" jsonschema:"minItems=1"`
	// PlacedAt is when the order had been accepted, in UTC.
	PlacedAt time.Time `json:"placed_at"`
	// CancelledAt is when it was cancelled, in UTC.
	CancelledAt time.Time `json:"cancelled_at"`
}
