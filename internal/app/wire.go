//go:build wireinject

package app

import (
	"context"
	"log/slog"

	"github.com/google/wire"

	"example.com/millwright/internal/handlers"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/inbox"
	"example.com/millwright/internal/infra/retention"
	"example.com/millwright/internal/infra/telemetry"
)

// InitializeService puts the whole service together. Nothing runs yet: see
// Service.Run. The cleanup closes what was opened.
func InitializeService(ctx context.Context, config Config, wrap BrokerWrapper, logger *slog.Logger) (*Service, func(), error) {
	wire.Build(
		HandlersSet,
		OpenStorage, provideDB,
		// the machinery
		NewBroker,
		provideOutboxConfig,
		inbox.Set,
		deadletter.Set, provideDeadLetterConfig,
		consumer.Set, provideConsumerConfig,
		retention.Set, provideRetentionConfig, provideJobs,
		telemetry.Set, provideAdmin,
		wire.Bind(new(APIHandler), new(*handlers.API)),
		wire.Struct(new(Service), "*"),
	)
	return nil, nil, nil
}

// InitializeTools puts together what the operator's commands need.
func InitializeTools(ctx context.Context, config Config, logger *slog.Logger) (*Tools, func(), error) {
	wire.Build(
		HandlersSet,
		OpenStorage, provideDB,
		deadletter.Set, provideDeadLetterConfig,
		wire.Struct(new(Tools), "*"),
	)
	return nil, nil, nil
}

// InitializeDeclarations gathers what the service has declared. It connects to
// nothing: the consumers get an empty database.
func InitializeDeclarations(ctx context.Context, config Config, logger *slog.Logger) (*Declarations, func(), error) {
	wire.Build(
		HandlersSet,
		openNothing,
		wire.Struct(new(Declarations), "*"),
	)
	return nil, nil, nil
}
