package consumer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/envelope"
)

// BenchmarkDrain measures how fast a backlog in the outbox is forwarded and
// handled, each event with one insert of its own:
//
//	go test -run '^$' -bench Drain -benchtime 10000x ./internal/infra/consumer
func BenchmarkDrain(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { drain(b, databasetest.Open(b, databasetest.SQLiteURL(b))) })
	b.Run("postgres", func(b *testing.B) { drain(b, postgresOrSkip(b)) })
}

func drain(b *testing.B, db *database.DB) {
	p := setup(b, db)
	for n := 0; n < b.N; n += 500 {
		var payloads []any
		for i := n; i < min(n+500, b.N); i++ {
			payloads = append(payloads, ticked{Key: fmt.Sprint("k", i%500), N: i})
		}
		p.publish(payloads...)
	}
	var calls atomic.Int64
	b.ResetTimer()
	p.start(consumer.New("drain", consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
		calls.Add(1)
		return apply(ctx, tx, "drain", e)
	})))
	for calls.Load() < int64(b.N) || p.count(`SELECT COUNT(*) FROM processed`) < b.N {
		time.Sleep(5 * time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
