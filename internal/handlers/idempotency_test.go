package handlers

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
)

func TestSameKeySameBody(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		first := b.do("POST", "/orders", goodOrder, "Idempotency-Key", `"k1"`)
		require.Equal(t, http.StatusCreated, first.Code, first.Body)
		again := b.do("POST", "/orders", goodOrder, "Idempotency-Key", `k1`)
		require.Equal(t, http.StatusCreated, again.Code)
		require.Equal(t, first.Body.String(), again.Body.String())
		require.Equal(t, first.Header(), again.Header())

		other := b.do("POST", "/orders", goodOrder, "Idempotency-Key", "k2")
		require.Equal(t, http.StatusCreated, other.Code)
		require.NotEqual(t, first.Header().Get("Location"), other.Header().Get("Location"))
		require.EqualValues(t, 2, b.count(t, `SELECT COUNT(*) FROM orders`))
		require.EqualValues(t, 2, b.count(t, `SELECT COUNT(*) FROM outbox`))
	})
}

func TestSameKeyOtherBody(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		require.Equal(t, http.StatusCreated, b.do("POST", "/orders", goodOrder, "Idempotency-Key", "k").Code)
		w := b.do("POST", "/orders", strings.Replace(goodOrder, "Ada", "Bob", 1), "Idempotency-Key", "k")
		requireProblem(t, w, http.StatusUnprocessableEntity, "this Idempotency-Key was used for another request")
		require.EqualValues(t, 1, b.count(t, `SELECT COUNT(*) FROM orders`))
	})
}

func TestSameKeyAtTheSameTime(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		const clients = 20
		answers := make([]string, clients)
		var group sync.WaitGroup
		for i := range clients {
			group.Go(func() {
				w := b.do("POST", "/orders", goodOrder, "Idempotency-Key", "k")
				answers[i] = http.StatusText(w.Code) + w.Body.String()
			})
		}
		group.Wait()
		for _, answer := range answers {
			require.Equal(t, answers[0], answer)
		}
		require.Contains(t, answers[0], "Created")
		require.EqualValues(t, 1, b.count(t, `SELECT COUNT(*) FROM orders`))
		require.EqualValues(t, 1, b.count(t, `SELECT COUNT(*) FROM outbox`))
	})
}

func TestKeyIsFreeAfterAFailure(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		publisher := b.orders.publisher
		b.orders.publisher = failing{context.DeadlineExceeded}
		require.Equal(t, http.StatusServiceUnavailable, b.do("POST", "/orders", goodOrder, "Idempotency-Key", "k").Code)
		b.requireNothingWritten(t)
		b.orders.publisher = publisher
		require.Equal(t, http.StatusCreated, b.do("POST", "/orders", goodOrder, "Idempotency-Key", "k").Code)
	})
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	b := newBundle(nil, nil)
	const detail = `Idempotency-Key must be one string of 1 to 255 printable ASCII characters without '"' and '\', such as "8e03978e-40d5-43dd-bc93-6894a57f9324"`
	for _, key := range []string{"", " ", `""`, `"`, `a"b`, `"a\"b"`, "ä", "a\x01", strings.Repeat("a", 256)} {
		requireProblem(t, b.do("POST", "/orders", goodOrder, "Idempotency-Key", key), http.StatusBadRequest, detail)
	}
	requireProblem(t, b.do("POST", "/orders", goodOrder, "Idempotency-Key", "a", "Idempotency-Key", "b"), http.StatusBadRequest, detail)
}

func TestOldKeysAreForgotten(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		for i, age := range []time.Duration{72 * time.Hour, 48 * time.Hour, 25 * time.Hour, 23 * time.Hour} {
			b.orders.now = func() time.Time { return now.Add(-age) }
			require.Equal(t, http.StatusCreated, b.do("POST", "/orders", goodOrder, "Idempotency-Key", string(rune('a'+i))).Code)
		}
		job := IdempotencyKeys()
		require.Equal(t, 24*time.Hour, job.Keep)
		for _, want := range []int64{2, 1, 0} {
			require.NoError(t, b.db.InTx(t.Context(), func(ctx context.Context, tx database.Tx) error {
				n, err := job.Delete(ctx, tx, now.Add(-job.Keep), 2)
				require.Equal(t, want, n)
				return err
			}))
		}
		require.EqualValues(t, 1, b.count(t, `SELECT COUNT(*) FROM idempotency_keys WHERE key = 'd'`))
	})
}
