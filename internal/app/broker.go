package app

import (
	"context"
	"fmt"
	"log/slog"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/kafka"
	"example.com/millwright/internal/infra/broker/sqlqueue"
)

// BrokerWrapper lets a test stand between the service and its broker; nil in
// production.
type BrokerWrapper func(broker.Broker) broker.Broker

// NewBroker connects to the broker that the configuration names. This is the
// one place that knows all of them.
func NewBroker(ctx context.Context, config Config, storage *Storage, wrap BrokerWrapper, logger *slog.Logger) (broker.Broker, func(), error) {
	var b broker.Broker
	switch config.Broker {
	case brokerKafka:
		servers, err := kafka.ParseURL(config.BrokerURL)
		if err != nil {
			return nil, nil, fmt.Errorf("BROKER_URL: %w", err)
		}
		b, err = kafka.New(ctx, servers, kafka.Config{
			Partitions: int32(config.KafkaPartitions), Replication: int16(config.KafkaReplication),
			CloseTimeout: config.ShutdownTimeout, Logger: logger,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("BROKER_URL: %w", err)
		}
	default:
		queue := sqlqueue.Config{CloseTimeout: config.ShutdownTimeout}
		if storage.queue == storage.db {
			b = sqlqueue.NewLocal(storage.db, queue, logger)
		} else {
			b = sqlqueue.New(storage.queue, queue, logger)
		}
	}
	if wrap != nil {
		b = wrap(b)
	}
	return b, func() {
		if err := b.Close(); err != nil {
			logger.Warn("closing the broker failed", "error", err)
		}
	}, nil
}
