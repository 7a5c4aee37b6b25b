// Package apptest puts the service under a load of orders and checks afterwards
// that its tables agree with what its clients were told.
package apptest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stockEach is how much of each sku there is at first.
const stockEach = 1_000_000

var skus = []string{"tea", "coffee", "cocoa", "milk"}

// patience bounds everything that a test waits for.
const patience = 90 * time.Second

// Item is a line of an order.
type Item struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice int64  `json:"unit_price"`
}

// Order is an order that the service has accepted.
type Order struct {
	ID        string
	Items     []Item
	Cancelled bool // and the service has accepted that too
}

// Load is a number of clients, each of which places one order after another and
// cancels some of them. A client repeats a request, under the same
// Idempotency-Key, until the service has accepted it.
type Load struct {
	base    func() string
	http    *http.Client
	stop    chan struct{}
	clients sync.WaitGroup
	keys    string

	accepted atomic.Int64

	mu       sync.Mutex
	orders   []Order
	problems []error
}

// Start fills the stock and starts the clients, which pause between their orders.
// base says where the service is at the moment; it is called for each request.
func Start(t *testing.T, base func() string, clients int, pause time.Duration) *Load {
	t.Helper()
	l := &Load{
		base: base, stop: make(chan struct{}), keys: t.Name(),
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
	}
	t.Cleanup(l.halt)
	for _, sku := range skus {
		_, err := l.until(http.StatusOK, http.MethodPut, "/stock/"+sku, "", map[string]int{"quantity": stockEach})
		require.NoError(t, err)
	}
	for c := range clients {
		l.clients.Go(func() { l.client(c, pause) })
	}
	return l
}

// Accepted is how many orders were accepted until now.
func (l *Load) Accepted() int { return int(l.accepted.Load()) }

// Stop lets each client finish its order and returns all that were accepted.
func (l *Load) Stop(t *testing.T) []Order {
	t.Helper()
	l.halt()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.NoError(t, errors.Join(l.problems...))
	require.NotEmpty(t, l.orders, "no order was accepted")
	return l.orders
}

func (l *Load) halt() {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.clients.Wait()
	l.http.CloseIdleConnections()
}

func (l *Load) client(number int, pause time.Duration) {
	random := rand.New(rand.NewPCG(uint64(number), 1))
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		case <-time.After(pause):
		}
		order, err := l.place(random, fmt.Sprintf("%s-%d-%d", l.keys, number, n))
		l.mu.Lock()
		if err != nil {
			l.problems = append(l.problems, err)
		} else {
			l.orders = append(l.orders, order)
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (l *Load) place(random *rand.Rand, key string) (Order, error) {
	var order Order
	for range 1 + random.IntN(3) { // the same sku may come twice
		order.Items = append(order.Items, Item{SKU: skus[random.IntN(len(skus))], Quantity: 1 + random.Int64N(3), UnitPrice: random.Int64N(1000)})
	}
	body := map[string]any{"customer": "Ada", "email": "ada@example.com", "items": order.Items}
	answer, err := l.until(http.StatusCreated, http.MethodPost, "/orders", key, body)
	if err != nil {
		return order, err
	}
	var placed struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(answer, &placed); err != nil {
		return order, fmt.Errorf("answer %q: %w", answer, err)
	}
	order.ID = placed.ID
	l.accepted.Add(1)
	if random.IntN(5) == 0 {
		if err := l.cancel(order.ID); err != nil {
			return order, err
		}
		order.Cancelled = true
	}
	return order, nil
}

func (l *Load) cancel(id string) error {
	_, err := l.until(http.StatusOK, http.MethodPost, "/orders/"+id+"/cancel", "", nil)
	return err
}

// until repeats the request until it is answered with the status wanted. A
// conflict will do: an earlier try has cancelled the order, but its answer was
// lost.
func (l *Load) until(want int, method, path, key string, body any) ([]byte, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; {
		status, answer, err := l.send(method, path, key, encoded)
		switch {
		case err == nil && (status == want || status == http.StatusConflict):
			return answer, nil
		case err == nil && status != http.StatusServiceUnavailable:
			return nil, fmt.Errorf("%s %s: %d: %s", method, path, status, answer)
		case time.Now().After(deadline):
			return nil, errors.Join(fmt.Errorf("%s %s: not accepted within %s: %d: %s", method, path, patience, status, answer), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *Load) send(method, path, key string, body []byte) (status int, answer []byte, err error) {
	r, err := http.NewRequest(method, l.base()+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	response, err := l.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// Eventually waits until missing returns nothing; until then it says what is
// not there yet.
func Eventually(t *testing.T, missing func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		still := missing()
		if still == "" {
			return
		}
		if time.Now().After(deadline) {
			require.FailNowf(t, "waited too long", "%s: %s", patience, still)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
