package app

import (
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/wire"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/handlers"
	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/consumer/topology"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/contract"
	"example.com/millwright/internal/infra/envelope/schema"
	"example.com/millwright/internal/infra/inbox"
	"example.com/millwright/internal/infra/outbox"
	"example.com/millwright/internal/infra/retention"
	"example.com/millwright/internal/infra/telemetry"
)

// HandlersSet is what the service does, and what its handlers may ask for.
var HandlersSet = wire.NewSet(
	events.Catalog, provideSchemas, provideTopology, provideContract, provideRegistry,
	handlers.Set, provideMailConfig,
	outbox.Set, provideSource, providePublisherConfig, wire.Bind(new(handlers.Publisher), new(*outbox.Publisher)),
)

// Tools is what the operator's commands work with.
type Tools struct {
	Storage     *Storage
	DeadLetters *deadletter.Store
	Outbox      *outbox.Store
	Consumers   []consumer.Consumer
	Catalog     *envelope.Catalog
}

// Declarations are what the service says of its events.
type Declarations struct {
	Catalog   *envelope.Catalog
	Consumers []consumer.Consumer
	Producers []consumer.Producer
	Topology  topology.Graph
	Schemas   *schema.Set
	Contract  contract.Service
	Registry  Registry
}

// Each part gets its own settings from the configuration.

func provideSource(c Config) outbox.Source { return outbox.Source(c.ServiceName) }

// providePublisherConfig is strict in development: in production an event is worth
// more than its declaration.
func providePublisherConfig(c Config, db *database.DB, set *schema.Set, logger *slog.Logger) outbox.PublisherConfig {
	config := outbox.PublisherConfig{AllowUndeclared: !isDevelopment(db.Dialect()), Logger: logger}
	if c.validatesPublished(db.Dialect()) {
		config.Validate = set.Validate
	}
	return config
}

func provideOutboxConfig(c Config) outbox.Config { return outbox.Config{Attempts: c.OutboxAttempts} }

func provideDeadLetterConfig(c Config) deadletter.Config {
	return deadletter.Config{CloseTimeout: c.ShutdownTimeout}
}

func provideConsumerConfig(c Config, registry *prometheus.Registry, set *schema.Set) consumer.Config {
	config := c.consumerConfig()
	if c.ValidatePayloads == validateOn {
		config.Validate = set.Validate
	}
	config.Plugins = []message.RouterPlugin{telemetry.RouterMetrics(registry)}
	return config
}

func (c Config) consumerConfig() consumer.Config {
	return consumer.Config{Service: c.ServiceName, ShutdownTimeout: c.ShutdownTimeout}
}

func provideRetentionConfig(c Config) retention.Config {
	return retention.Config{Every: c.RetentionInterval}
}

// provideJobs lists what keeps the tables small. It refuses a dedupe window that
// is too short for the consumers.
func provideJobs(c Config, storage *Storage, consumers []consumer.Consumer) ([]retention.Job, error) {
	if err := c.checkDedupeWindow(consumers); err != nil {
		return nil, err
	}
	idempotencyKeys := handlers.IdempotencyKeys()
	idempotencyKeys.Keep = c.IdempotencyRetention
	jobs := []retention.Job{
		{Name: "processed events", Keep: c.ProcessedRetention, Delete: inbox.Prune},
		{Name: "sent events", Keep: c.OutboxRetention, Delete: outbox.Prune},
		{Name: "closed dead letters", Keep: c.DeadLetterRetention, Delete: deadletter.Prune},
		idempotencyKeys,
	}
	if storage.queue != nil {
		jobs = append(jobs, retention.Job{Name: "queue messages", DB: storage.queue, Keep: c.QueueRetention, Delete: sqlqueue.Prune})
	}
	return jobs, nil
}

func provideTopology(c Config, catalog *envelope.Catalog, consumers []consumer.Consumer, producers []consumer.Producer) (topology.Graph, error) {
	return topology.New(c.ServiceName, catalog, consumers, producers)
}

func provideMailConfig(c Config) handlers.MailConfig {
	return handlers.MailConfig{SMTPURL: c.SMTPURL, From: c.MailFrom}
}

// provideAdmin serves health, metrics and what the events are.
func provideAdmin(registry *prometheus.Registry, tables *telemetry.Tables, storage *Storage, b broker.Broker, contract contract.Service) (AdminHandler, error) {
	registry.MustRegister(tables)
	pages, err := contract.Handler()
	if err != nil {
		return nil, err
	}
	return telemetry.NewAdmin(registry, telemetry.Checks{
		"database":   storage.db.Ping,
		"migrations": storage.CheckSchema,
		"broker":     b.Ping,
	}, telemetry.Page{Path: "/schemas", Name: "events", Handler: pages}, telemetry.Page{Path: "/asyncapi.yaml", Name: "AsyncAPI", Handler: pages}), nil
}
