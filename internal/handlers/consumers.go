package handlers

import (
	"context"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
)

// Consumers lists who reacts to which events. A name is the consumer's group at
// the broker and its identity in the processed table: it never changes.
func Consumers(stock *Stock, confirmation *Confirmation, report *SalesReport) []consumer.Consumer {
	return []consumer.Consumer{
		// One transaction at a time: several would lock the same skus, each in its order.
		consumer.New("reserve-stock", consumer.On(stock.OrderPlaced), consumer.On(stock.OrderCancelled), consumer.Concurrency(1)),
		consumer.New("send-confirmation", consumer.OnEffect(confirmation.OrderPlaced), consumer.Retry(5)),
		consumer.New("sales-report", consumer.On(report.OrderPlaced), consumer.On(report.OrderCancelled)),
	}
}

// Producers lists what publishes events without handling one.
func Producers() []consumer.Producer { return []consumer.Producer{ordersAPI()} }

func ordersAPI() consumer.Producer {
	return consumer.NewProducer("orders-api", consumer.Publishes[events.OrderPlaced](), consumer.Publishes[events.OrderCancelled]())
}

// Publisher publishes events that exist if and only if tx commits.
type Publisher interface {
	Publish(ctx context.Context, tx database.Tx, payloads ...any) error
}

// exec runs a statement and returns how many rows it changed.
func exec(ctx context.Context, tx database.Tx, query string, args ...any) (int64, error) {
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
