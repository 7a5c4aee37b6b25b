package app_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/app/apptest"
	"example.com/millwright/internal/infra/broker/brokertest"
	"example.com/millwright/internal/infra/broker/kafka/kafkatest"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

// Every delivery doubled, and shuffled across keys: the same sums.
func TestDoubledAndShuffledDeliveries(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, config app.Config) {
		i := start(t, config, brokertest.Unreliable(uint64(time.Now().UnixNano())))
		orders := loadUntil(t, i.api, 200)
		i.ledger(config).RequireSums(t, orders)
	})
}

// Kafka is away for a while under load: orders are taken all the same, and
// nothing is lost, set aside, or counted as a failure of an event.
func TestKafkaDown(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, config app.Config) {
		kafka := kafkatest.Start(t)
		config.Broker, config.BrokerURL = "kafka", kafka.URL()
		i := start(t, config, nil)
		load := apptest.Start(t, func() string { return i.api }, 4, 5*time.Millisecond)
		ledger := i.ledger(config)
		ledger.WaitForWork(t)

		end := kafka.Outage(t)
		before := load.Accepted()
		apptest.Eventually(t, func() string {
			if load.Accepted() < before+100 {
				return "orders while Kafka is away"
			}
			return ""
		})
		end()
		ledger.WaitForWork(t)
		ledger.RequireSums(t, load.Stop(t))
	})
}

// The queue's table is locked for a while under load.
func TestQueueLocked(t *testing.T) {
	t.Parallel()
	config := defaults(t)
	config.DatabaseURL = databasetest.PostgresURL(t)
	i := start(t, config, nil)
	load := apptest.Start(t, func() string { return i.api }, 4, 5*time.Millisecond)
	ledger := i.ledger(config)
	ledger.WaitForWork(t)

	lock := func(ctx context.Context, tx database.Tx) error {
		if _, err := tx.ExecContext(ctx, `LOCK TABLE queue_log, queue_cursors IN ACCESS EXCLUSIVE MODE`); err != nil {
			return err
		}
		before := load.Accepted()
		apptest.Eventually(t, func() string {
			if load.Accepted() < before+100 {
				return "orders while the queue is locked"
			}
			return ""
		})
		return nil
	}
	require.NoError(t, ledger.DB.InTx(t.Context(), lock))
	ledger.WaitForWork(t)
	ledger.RequireSums(t, load.Stop(t))
}

// A stop with events in flight, and a start on what is left.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, config app.Config) {
		i := start(t, config, nil)
		orders := loadUntil(t, i.api, 100)
		i.stop() // with events in flight
		i = start(t, config, nil)
		i.ledger(config).RequireSums(t, orders)
	})
}
