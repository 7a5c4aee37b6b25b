package handlers

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/testkit"
)

// outgoing is a Mailer that keeps the mails, or fails.
type outgoing struct {
	mu    sync.Mutex
	mails []Mail
	err   error
}

func (o *outgoing) Send(_ context.Context, mail Mail) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.mails = append(o.mails, mail)
	}
	return o.err
}

func TestConfirmation(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		order := b.place(t, events.Item{SKU: "tea", Quantity: 2, UnitPrice: 450}, events.Item{SKU: "cup", Quantity: 1, UnitPrice: 5})
		mailer := &outgoing{}
		confirmation := NewConfirmation(b.db, mailer)
		first := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		confirmation.now = func() time.Time { return first }
		event := testkit.Event(order)
		require.NoError(t, confirmation.OrderPlaced(t.Context(), event))
		require.Equal(t, []Mail{{
			ID: event.ID, OrderID: order.OrderID, To: "ada@example.com", Subject: "Your order " + order.OrderID,
			Text: "Hello Ada,\n\nyour order " + order.OrderID + " has arrived:\n\n  2 × tea at 4.50\n  1 × cup at 0.05\n\nTotal: 9.05\n",
		}}, mailer.mails)
		const sent = `"confirmation_sent_at":"2026-03-01T12:00:00Z"`
		require.Contains(t, b.do("GET", "/orders/"+order.OrderID, "").Body.String(), sent)

		// Again after a crash: the same mail, and the time of the first.
		confirmation.now = time.Now
		require.NoError(t, confirmation.OrderPlaced(t.Context(), event))
		require.Len(t, mailer.mails, 2)
		require.Equal(t, mailer.mails[0], mailer.mails[1])
		require.Contains(t, b.do("GET", "/orders/"+order.OrderID, "").Body.String(), sent)
	})
}

func TestConfirmationThatFails(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		order := b.place(t, events.Item{SKU: "tea", Quantity: 1})
		confirmation := NewConfirmation(b.db, &outgoing{err: errors.New("no")})
		require.EqualError(t, confirmation.OrderPlaced(t.Context(), testkit.Event(order)), "send confirmation: no")
		require.Contains(t, b.do("GET", "/orders/"+order.OrderID, "").Body.String(), `"confirmation_sent_at":null`)
	})
}
