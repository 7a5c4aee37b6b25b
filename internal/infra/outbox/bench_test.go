package outbox_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/outbox"
)

// BenchmarkForward measures how fast events move into a queue in the same
// database:
//
//	go test -run '^$' -bench Forward -benchtime 20000x ./internal/infra/outbox
func BenchmarkForward(b *testing.B) {
	for name, open := range map[string]func(testing.TB) string{"sqlite": databasetest.SQLiteURL, "postgres": databasetest.PostgresURL} {
		b.Run(name, func(b *testing.B) {
			db := databasetest.Open(b, open(b), sqlqueue.Migrations())
			s := setup(b, db)
			queue := localQueue(b, db, "accounts")
			for n := 0; n < b.N; n += 500 {
				require.NoError(b, db.InTx(b.Context(), func(ctx context.Context, tx database.Tx) error {
					for i := n; i < min(n+500, b.N); i++ {
						if err := s.out.Publish(ctx, tx, opened{Account: fmt.Sprint("k", i%500), N: i}); err != nil {
							return err
						}
					}
					return nil
				}))
			}
			forwarder := outbox.NewForwarder(db, queue, outbox.Config{}, s.logger)
			b.ResetTimer()
			for total := 0; total < b.N; {
				n, err := forwarder.Forward(b.Context())
				require.NoError(b, err)
				total += n
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
