package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
)

// API is the service's HTTP API. Every error is answered with
// application/problem+json.
type API struct {
	mux      *http.ServeMux
	producer consumer.Producer
	logger   *slog.Logger
}

var _ http.Handler = (*API)(nil)

// NewAPI puts the routes together.
func NewAPI(orders *Orders, stock *Stock, report *SalesReport, logger *slog.Logger) *API {
	a := &API{mux: http.NewServeMux(), producer: ordersAPI(), logger: logger}
	a.handle("POST /orders", orders.post)
	a.handle("GET /orders/{id}", orders.get)
	a.handle("POST /orders/{id}/cancel", orders.cancel)
	a.handle("PUT /stock/{sku}", stock.put)
	a.handle("GET /stock/{sku}", stock.get)
	a.handle("GET /reports/sales", report.get)
	return a
}

// handle adds a route whose handler returns its error before it has written
// anything.
func (a *API) handle(pattern string, handler func(http.ResponseWriter, *http.Request) error) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := call(handler, w, r); err != nil {
			a.fail(w, r, err)
		}
	})
}

// call makes an error of a panic, so that it is answered and logged like any
// other.
func call(handler func(http.ResponseWriter, *http.Request) error, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return handler(w, r)
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r.WithContext(a.producer.Context(r.Context())))
		return
	}
	// The mux answers 404 and 405 in plain text: ours instead, with its headers.
	answer := discard{header: w.Header()}
	handler.ServeHTTP(&answer, r)
	detail := "there is nothing at this path"
	if answer.status == http.StatusMethodNotAllowed {
		detail = "this path doesn't take " + r.Method + " but " + w.Header().Get("Allow")
	}
	newProblem(answer.status, detail).write(w)
}

// What the client asked for and can't have.
var (
	errNoOrder   = errors.New("there is no such order")
	errNoStock   = errors.New("nothing is known of this sku")
	errCancelled = errors.New("the order is cancelled already")
	errKeyReused = errors.New("this Idempotency-Key was used for another request")
)

// fail answers with the error. This is the one place that knows which status an
// error has; what isn't listed is internal, logged, and not shown.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if p, ok := errors.AsType[*problem](err); ok {
		p.write(w)
		return
	}
	for _, known := range []struct {
		err    error
		status int
	}{
		{errNoOrder, http.StatusNotFound},
		{errNoStock, http.StatusNotFound},
		{errCancelled, http.StatusConflict},
		{errKeyReused, http.StatusUnprocessableEntity},
	} {
		if errors.Is(err, known.err) {
			newProblem(known.status, known.err.Error()).write(w)
			return
		}
	}
	status, detail := http.StatusInternalServerError, "the service failed; its log says why"
	if database.IsUnavailable(err) || database.IsConflict(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		status, detail = http.StatusServiceUnavailable, "the database can't be reached or is overloaded: try again"
		w.Header().Set("Retry-After", "1")
	}
	if r.Context().Err() == nil { // else the client has gone, which is not our failure
		a.logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "route", r.Pattern, "status", status, "error", err)
	}
	newProblem(status, detail).write(w)
}

// discard is a ResponseWriter that keeps only the status and the headers.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
