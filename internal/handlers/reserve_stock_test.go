package handlers

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/testkit"
)

const available = `SELECT available FROM stock WHERE sku = $1`

func TestReserveAndRelease(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		b.setStock(t, "tea", 10)
		b.setStock(t, "cup", 1)
		order := b.place(t, events.Item{SKU: "tea", Quantity: 2}, events.Item{SKU: "cup", Quantity: 1}, events.Item{SKU: "tea", Quantity: 3})
		require.NoError(t, b.reserve(t.Context(), order))
		require.EqualValues(t, 5, b.count(t, available, "tea"))
		require.EqualValues(t, 0, b.count(t, available, "cup"))
		require.EqualValues(t, 5, b.count(t, `SELECT quantity FROM reservations WHERE order_id = $1 AND sku = 'tea'`, order.OrderID))
		require.Contains(t, b.do("GET", "/orders/"+order.OrderID, "").Body.String(), `"status":"reserved"`)

		cancelled := b.cancel(t, order.OrderID)
		for range 2 { // the second finds nothing left to release
			require.NoError(t, b.release(t.Context(), cancelled))
			require.EqualValues(t, 10, b.count(t, available, "tea"))
			require.EqualValues(t, 1, b.count(t, available, "cup"))
			require.Zero(t, b.count(t, `SELECT COUNT(*) FROM reservations`))
		}
	})
}

func TestReservingTwiceFails(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		b.setStock(t, "tea", 10)
		order := b.place(t, events.Item{SKU: "tea", Quantity: 2})
		require.NoError(t, b.reserve(t.Context(), order))
		require.ErrorContains(t, b.reserve(t.Context(), order), "reserve stock: insert reservations: ")
		require.EqualValues(t, 8, b.count(t, available, "tea"))
	})
}

func TestOutOfStockLeavesNothingBehind(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		b.setStock(t, "cup", 10)
		b.setStock(t, "tea", 4)
		order := b.place(t, events.Item{SKU: "tea", Quantity: 2}, events.Item{SKU: "cup", Quantity: 1}, events.Item{SKU: "tea", Quantity: 3})
		err := b.reserve(t.Context(), order)
		require.EqualError(t, err, "reserve stock: not enough stock of tea: 5 wanted, 4 available")
		require.True(t, consumer.IsPermanent(err))
		require.EqualValues(t, 4, b.count(t, available, "tea"))
		require.EqualValues(t, 10, b.count(t, available, "cup"))
		require.Zero(t, b.count(t, `SELECT COUNT(*) FROM reservations`))
		require.Contains(t, b.do("GET", "/orders/"+order.OrderID, "").Body.String(), `"stock_reserved_at":null`)

		unknown := b.place(t, events.Item{SKU: "salt", Quantity: 1})
		require.EqualError(t, b.reserve(t.Context(), unknown), "reserve stock: not enough stock of salt: 1 wanted, 0 available")

		b.setStock(t, "tea", 5) // the fix, after which a replay succeeds
		require.NoError(t, b.reserve(t.Context(), order))
		require.Zero(t, b.count(t, available, "tea"))
	})
}

func TestCancelledOrderIsNotReserved(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		b.setStock(t, "tea", 10)
		order := b.place(t, events.Item{SKU: "tea", Quantity: 2})
		cancelled := b.cancel(t, order.OrderID)
		require.NoError(t, b.release(t.Context(), cancelled))
		require.NoError(t, b.reserve(t.Context(), order))
		require.EqualValues(t, 10, b.count(t, available, "tea"))
		require.Zero(t, b.count(t, `SELECT COUNT(*) FROM reservations`))
	})
}

func TestReserveForAnUnknownOrder(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		err := b.reserve(t.Context(), events.OrderPlaced{OrderID: "o1", Items: events.Items{{SKU: "tea", Quantity: 1}}})
		require.EqualError(t, err, "reserve stock: there is no order o1")
		require.True(t, consumer.IsPermanent(err))
	})
}

// Orders whose skus cross would deadlock if each took them in its own order.
func TestCrossingOrdersAtTheSameTime(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		const pairs = 20
		b.setStock(t, "tea", 2*pairs)
		b.setStock(t, "cup", 2*pairs)
		tea, cup := events.Item{SKU: "tea", Quantity: 1}, events.Item{SKU: "cup", Quantity: 1}
		var group sync.WaitGroup
		errs := make(chan error, 2*pairs)
		var tries atomic.Int64
		for i := range 2 * pairs {
			order := b.place(t, tea, cup)
			if i%2 == 0 {
				order.Items = events.Items{cup, tea}
			}
			group.Go(func() {
				errs <- b.db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
					tries.Add(1)
					return b.stock.OrderPlaced(ctx, tx, testkit.Event(order))
				})
			})
		}
		group.Wait()
		close(errs)
		require.EqualValues(t, 2*pairs, tries.Load(), "InTx had to try again after a deadlock")
		for err := range errs {
			require.NoError(t, err)
		}
		require.Zero(t, b.count(t, available, "tea"))
		require.Zero(t, b.count(t, available, "cup"))
		require.EqualValues(t, 4*pairs, b.count(t, `SELECT COUNT(*) FROM reservations`))
	})
}

// Whichever comes first, nothing stays reserved for a cancelled order once both
// events have been handled.
func TestReserveAndCancelAtTheSameTime(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		b.setStock(t, "tea", 100)
		for range 20 {
			order := b.place(t, events.Item{SKU: "tea", Quantity: 1})
			var group sync.WaitGroup
			var reserveErr error
			group.Go(func() { reserveErr = b.reserve(t.Context(), order) })
			code := b.do("POST", "/orders/"+order.OrderID+"/cancel", "").Code
			group.Wait()
			require.NoError(t, reserveErr)
			require.Equal(t, http.StatusOK, code)
			require.NoError(t, b.release(t.Context(), lastEvent[events.OrderCancelled](t, b.db)))
		}
		require.EqualValues(t, 100, b.count(t, available, "tea"))
		require.Zero(t, b.count(t, `SELECT COUNT(*) FROM reservations`))
	})
}

// Two orders placed through the API at the same time get what there is.
func TestLastOneInStock(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		b.setStock(t, "tea", 1)
		first, second := b.place(t, events.Item{SKU: "tea", Quantity: 1}), b.place(t, events.Item{SKU: "tea", Quantity: 1})
		require.NotEqual(t, uuid.MustParse(first.OrderID), uuid.MustParse(second.OrderID))
		var group sync.WaitGroup
		errs := make([]error, 2)
		group.Go(func() { errs[0] = b.reserve(t.Context(), first) })
		group.Go(func() { errs[1] = b.reserve(t.Context(), second) })
		group.Wait()
		if errs[0] == nil {
			errs[0], errs[1] = errs[1], errs[0]
		}
		require.EqualError(t, errs[0], "reserve stock: not enough stock of tea: 1 wanted, 0 available")
		require.NoError(t, errs[1])
		require.EqualValues(t, 1, b.count(t, `SELECT COUNT(*) FROM reservations`))
	})
}
