package telemetry

import (
	"context"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/components/metrics"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/outbox"
)

// NewRegistry returns a registry with the process's and Go's own metrics.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return registry
}

// RouterMetrics is Watermill's own instrumentation, as its dashboards expect it.
func RouterMetrics(registry prometheus.Registerer) message.RouterPlugin {
	return func(r *message.Router) error {
		metrics.NewPrometheusMetricsBuilder(registry, "", "").AddPrometheusRouterMetrics(r)
		return nil
	}
}

// Tables reports at each scrape what waits in the tables: the outbox and the
// dead letters.
type Tables struct {
	outbox *outbox.Store
	dead   *deadletter.Store
	logger *slog.Logger

	unsent, oldest, setAside, letters *prometheus.Desc
}

var _ prometheus.Collector = (*Tables)(nil)

// scrapeLimit bounds the queries of a scrape.
const scrapeLimit = 5 * time.Second

// NewTables returns the collector.
func NewTables(outbox *outbox.Store, dead *deadletter.Store, logger *slog.Logger) *Tables {
	return &Tables{
		outbox: outbox, dead: dead, logger: logger,
		unsent:   prometheus.NewDesc("outbox_unsent_events", "Events that the broker has not confirmed yet.", nil, nil),
		oldest:   prometheus.NewDesc("outbox_oldest_unsent_age_seconds", "Age of the oldest event that the broker has not confirmed yet.", nil, nil),
		setAside: prometheus.NewDesc("outbox_set_aside_events", "Events that could not be published and wait for an operator.", nil, nil),
		letters:  prometheus.NewDesc("dead_letters", "Dead letters by state.", []string{"state"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (t *Tables) Describe(out chan<- *prometheus.Desc) {
	out <- t.unsent
	out <- t.oldest
	out <- t.setAside
	out <- t.letters
}

// Collect implements prometheus.Collector. What can't be read is left out.
func (t *Tables) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	if status, err := t.outbox.Status(ctx); err != nil {
		t.logger.WarnContext(ctx, "outbox metrics are missing", "error", err)
	} else {
		var age float64
		if status.OldestUnsent != nil {
			age = time.Since(*status.OldestUnsent).Seconds()
		}
		out <- prometheus.MustNewConstMetric(t.unsent, prometheus.GaugeValue, float64(status.Unsent))
		out <- prometheus.MustNewConstMetric(t.oldest, prometheus.GaugeValue, age)
		out <- prometheus.MustNewConstMetric(t.setAside, prometheus.GaugeValue, float64(len(status.SetAside)))
	}
	counts, err := t.dead.Counts(ctx)
	if err != nil {
		t.logger.WarnContext(ctx, "dead letter metrics are missing", "error", err)
	}
	for state, n := range counts {
		out <- prometheus.MustNewConstMetric(t.letters, prometheus.GaugeValue, float64(n), string(state))
	}
}
