package handlers

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	b := newBundle(nil, nil)
	for _, path := range []string{"/", "/nothing", "/orders/1/2/3", "/stock/", "/orders/"} {
		requireProblem(t, b.do("GET", path, ""), http.StatusNotFound, "there is nothing at this path")
	}
	w := b.do("DELETE", "/orders", "")
	requireProblem(t, w, http.StatusMethodNotAllowed, "this path doesn't take DELETE but POST")
	require.Equal(t, "POST", w.Header().Get("Allow"))
	w = b.do("POST", "/stock/tea", "")
	requireProblem(t, w, http.StatusMethodNotAllowed, "this path doesn't take POST but GET, HEAD, PUT")
	w = b.do("GET", "//orders/../stock/tea", "")
	require.Equal(t, "/stock/tea", w.Header().Get("Location"), "the mux still cleans paths")
}

// failing is a Publisher that fails.
type failing struct{ err error }

func (f failing) Publish(context.Context, database.Tx, ...any) error { return f.err }

func TestErrorsOfTheServiceItself(t *testing.T) {
	t.Parallel()
	const body = `{"customer":"Ada","email":"ada@example.com","items":[{"sku":"tea","quantity":2,"unit_price":450}]}`
	for name, test := range map[string]struct {
		err    error
		status int
		detail string
	}{
		"internal":    {errors.New("password is hunter2"), 500, "the service failed; its log says why"},
		"unavailable": {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, 503, "the database can't be reached or is overloaded: try again"},
		"timeout":     {context.DeadlineExceeded, 503, "the database can't be reached or is overloaded: try again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(databasetest.Open(t, databasetest.SQLiteURL(t), Migrations()), failing{test.err})
			w := b.do("POST", "/orders", body, "Idempotency-Key", "k")
			requireProblem(t, w, test.status, test.detail)
			require.Equal(t, test.status == 503, w.Header().Get("Retry-After") != "")
			require.NotContains(t, w.Body.String(), test.err.Error())
			require.Contains(t, b.log.String(), test.err.Error())
			require.NotContains(t, b.log.String(), "ada@example.com")
			b.requireNothingWritten(t)
		})
	}
}

// A database that goes away in the middle is 503, also for the requests that
// find a dead connection in the pool.
func TestPanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	b := newBundle(nil, nil)
	b.api.handle("GET /panic", func(http.ResponseWriter, *http.Request) error { panic("on the streets") })
	w := b.do("GET", "/panic", "")
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Contains(t, w.Body.String(), "the service failed; its log says why")
	require.NotContains(t, w.Body.String(), "streets")
	require.Contains(t, b.log.String(), "panic: on the streets")
	require.Contains(t, b.log.String(), "api_test.go")
}

func TestPostgresGone(t *testing.T) {
	t.Parallel()
	target, err := url.Parse(databasetest.PostgresURL(t))
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cut := make(chan struct{})
	go relay(listener, target.Host, cut)
	target.Host = listener.Addr().String()
	b := newBundle(databasetest.Open(t, target.String(), Migrations()), nil)
	b.setStock(t, "tea", 1)
	require.NoError(t, listener.Close())
	close(cut)
	for range 3 {
		for _, r := range [][3]string{{"GET", "/stock/tea", ""}, {"PUT", "/stock/tea", `{"quantity":1}`}, {"POST", "/orders", goodOrder}, {"GET", "/reports/sales", ""}} {
			w := b.do(r[0], r[1], r[2])
			requireProblem(t, w, http.StatusServiceUnavailable, "the database can't be reached or is overloaded: try again")
		}
	}
}

// relay passes bytes between the listener's connections and the target until
// cut is closed.
func relay(listener net.Listener, target string, cut <-chan struct{}) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", target)
		if err != nil {
			_ = near.Close()
			continue
		}
		go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
		go func() { _, _ = io.Copy(near, far); _ = near.Close() }()
		go func() { <-cut; _ = near.Close(); _ = far.Close() }()
	}
}
