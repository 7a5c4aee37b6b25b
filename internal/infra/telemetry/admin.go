package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check says whether a part is ready: nil, or what is wrong with it.
type Check func(ctx context.Context) error

// Checks are the parts that must be ready before the service takes traffic, by
// name.
type Checks map[string]Check

// checkLimit bounds one check.
const checkLimit = 2 * time.Second

// Page is served on the admin listener besides NewAdmin's own.
type Page struct {
	// Path is where it is; what is below it is the handler's as well.
	Path string
	// Name is how the start page calls it.
	Name    string
	Handler http.Handler
}

// NewAdmin returns the handler of the admin listener: /healthz says that the
// process is alive, /readyz which parts are ready, /metrics everything that
// can be counted, / leads to these and the pages.
func NewAdmin(registry *prometheus.Registry, checks Checks, pages ...Page) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		results, ready := checks.run(r.Context())
		if !ready {
			answer(w, http.StatusServiceUnavailable, map[string]any{"status": "not ready", "checks": results})
			return
		}
		answer(w, http.StatusOK, map[string]any{"status": "ready", "checks": results})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	start := `<!doctype html><title>Admin</title><ul><li><a href="/healthz">health</a><li><a href="/readyz">readiness</a><li><a href="/metrics">metrics</a>`
	for _, p := range pages {
		mux.Handle("GET "+p.Path, p.Handler)
		mux.Handle("GET "+p.Path+"/", p.Handler)
		start += fmt.Sprintf(`<li><a href="%s">%s</a>`, p.Path, p.Name)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, start, "</ul>")
	})
	return mux
}

// run runs all checks side by side. The result of each is "ok" or what is wrong.
func (c Checks) run(ctx context.Context) (results map[string]string, ready bool) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	results, ready = make(map[string]string, len(c)), true
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, check := range c {
		wg.Go(func() {
			err := check(ctx)
			mu.Lock()
			defer mu.Unlock()
			results[name] = "ok"
			if err != nil {
				results[name], ready = err.Error(), false
			}
		})
	}
	wg.Wait()
	return results, ready
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails
}
