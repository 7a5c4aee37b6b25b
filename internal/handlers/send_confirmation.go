package handlers

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

// Mail is a message in plain text to one person.
type Mail struct {
	// ID makes the Message-ID, so that a mail sent twice is known as one.
	ID string
	// OrderID is what the mail is about, for logs.
	OrderID string
	// To is a bare address.
	To            string
	Subject, Text string
}

// Mailer sends a mail. An error marked with consumer.Permanent means that it
// will never be accepted. No error contains the address.
type Mailer interface {
	Send(ctx context.Context, mail Mail) error
}

// Confirmation tells customers that their order has arrived.
type Confirmation struct {
	db     *database.DB
	mailer Mailer
	now    func() time.Time
}

// NewConfirmation returns confirmations that go out through mailer.
func NewConfirmation(db *database.DB, mailer Mailer) *Confirmation {
	return &Confirmation{db: db, mailer: mailer, now: time.Now}
}

// OrderPlaced sends the mail and then notes on the order that it was sent. A
// crash in between sends it again, with the same Message-ID.
func (c *Confirmation) OrderPlaced(ctx context.Context, event envelope.Event[events.OrderPlaced]) error {
	if err := c.mailer.Send(ctx, confirmationMail(event)); err != nil {
		return fmt.Errorf("send confirmation: %w", err)
	}
	_, err := c.db.ExecContext(ctx, `UPDATE orders SET confirmed_at = $1 WHERE id = $2 AND confirmed_at IS NULL`, c.now(), event.Data.OrderID)
	if err != nil {
		return fmt.Errorf("send confirmation: note it: %w", err)
	}
	return nil
}

func confirmationMail(event envelope.Event[events.OrderPlaced]) Mail {
	order := event.Data
	var text strings.Builder
	fmt.Fprintf(&text, "Hello %s,\n\nyour order %s has arrived:\n\n", order.Customer, order.OrderID)
	for _, item := range order.Items {
		fmt.Fprintf(&text, "  %d × %s at %s\n", item.Quantity, item.SKU, amount(item.UnitPrice))
	}
	fmt.Fprintf(&text, "\nTotal: %s\n", amount(order.Items.Total()))
	return Mail{ID: event.ID, OrderID: order.OrderID, To: order.Email, Subject: "Your order " + order.OrderID, Text: text.String()}
}

// amount writes minor units of a currency that has a hundred of them.
func amount(minor int64) string { return fmt.Sprintf("%d.%02d", minor/100, minor%100) }
