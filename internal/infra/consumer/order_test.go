package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/envelope"
)

// Each key's events are applied in the order in which they were committed: with
// several producers, failing attempts, a restart in the middle, and on
// PostgreSQL two instances. The handler itself checks the sequence.
func TestOrderPerKey(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		b := setup(t, db)
		_, err := db.ExecContext(t.Context(), `CREATE TABLE last (key text PRIMARY KEY, n integer NOT NULL)`)
		require.NoError(t, err)
		const keys, perKey = 20, 25
		for key := range keys {
			_, err := db.ExecContext(t.Context(), `INSERT INTO last (key, n) VALUES ($1, -1)`, fmt.Sprint("k", key))
			require.NoError(t, err)
		}
		var disordered atomic.Int32
		inSequence := consumer.New("sequence", consumer.Retry(20), consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[ticked]) error {
			result, err := tx.ExecContext(ctx, `UPDATE last SET n = $1 WHERE key = $2 AND n = $3`, e.Data.N, e.Data.Key, e.Data.N-1)
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err != nil || n == 0 {
				disordered.Add(1)
				return consumer.Permanent(errors.Join(fmt.Errorf("%s: %d is out of order", e.Data.Key, e.Data.N), err))
			}
			if rand.IntN(10) == 0 {
				return errors.New("unlucky") // after the work: it must not count
			}
			return apply(ctx, tx, "sequence", e)
		}))
		stop := b.start(inSequence)
		if db.Dialect() == database.Postgres {
			b.start(inSequence)
		}
		var producers sync.WaitGroup
		for key := range keys {
			producers.Go(func() {
				for n := range perKey {
					b.publish(ticked{Key: fmt.Sprint("k", key), N: n})
				}
			})
		}
		b.eventually("half of it", func() bool { return b.count(`SELECT COUNT(*) FROM applied`) > keys*perKey/2 })
		stop()
		b.start(inSequence)
		producers.Wait()
		b.applied(keys * perKey)
		require.Zero(t, disordered.Load())
		require.Equal(t, keys, b.count(`SELECT COUNT(*) FROM last WHERE n = $1`, perKey-1))
		require.Zero(t, b.count(`SELECT COUNT(*) FROM dead_letters`))
	})
}
