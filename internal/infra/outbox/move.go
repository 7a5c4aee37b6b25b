package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// move forwards to a queue in the same database, in three round trips: lock the
// partitions, see what is due, and move it, commit included. The payloads never
// leave the database.
func (f *Forwarder) move(ctx context.Context, _ func()) (n int, err error) {
	err = f.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		n = 0
		locked, err := f.lock(ctx, tx)
		if err != nil || len(locked.partitions) == 0 {
			return err
		}
		rows, err := f.read(ctx, tx, locked, false)
		if err != nil || len(rows) == 0 {
			return err
		}
		outcomes, err := f.moveRows(ctx, tx, rows)
		if err != nil {
			return err
		}
		n = len(rows)
		return f.markFailures(ctx, tx, outcomes)
	})
	return n, err
}

func (f *Forwarder) moveRows(ctx context.Context, tx database.Tx, rows []row) ([]outcome, error) {
	byTopic := map[string][]row{}
	for _, r := range rows {
		byTopic[r.topic] = append(byTopic[r.topic], r)
	}
	outcomes := make([]outcome, 0, len(rows))
	for _, topic := range slices.Sorted(maps.Keys(byTopic)) { // so that Forwarders wait for each other instead of deadlocking
		rows := byTopic[topic]
		hashes := make([]uint32, len(rows))
		for i, r := range rows {
			hashes[i] = r.keyHash
		}
		query, args := f.takeOut(rows, "o.id, o.key_hash, o.partition_key, o.event_id AS message_id, o.metadata, o.payload")
		err := f.inTx.PublishTx(ctx, tx, topic, broker.Rows{Query: query, Args: args, KeyHashes: hashes})
		if err != nil && !errors.Is(err, broker.ErrRejected) {
			return nil, err
		}
		if err == nil {
			if err := f.clear(ctx, tx, rows); err != nil {
				return nil, err
			}
		}
		for _, r := range rows {
			outcomes = append(outcomes, outcome{r, err})
		}
	}
	return outcomes, nil
}

// takeOut is a statement that yields columns of the rows, o, and on PostgreSQL
// deletes them at the same time.
func (f *Forwarder) takeOut(rows []row, columns string) (query string, args []any) {
	partitions, ids := make([]int64, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		partitions[i], ids[i] = r.partition(), r.id
	}
	if f.db.Dialect() == database.Postgres {
		return `DELETE FROM outbox o USING unnest($1::bigint[], $2::bigint[]) AS taken(partition, id)
			WHERE o.partition = taken.partition AND o.id = taken.id RETURNING ` + columns, []any{partitions, ids}
	}
	these, arg := f.db.AnyOf("o.id", 1, ids)
	return `SELECT ` + columns + ` FROM outbox o WHERE ` + these, []any{arg}
}

// clear deletes the rows where takeOut has not.
func (f *Forwarder) clear(ctx context.Context, tx database.Tx, rows []row) error {
	if f.db.Dialect() == database.Postgres {
		return nil
	}
	ids := make([]int64, len(rows))
	for i, r := range rows {
		ids[i] = r.id
	}
	these, arg := f.db.AnyOf("id", 1, ids)
	if _, err := database.Queued(tx).ExecContext(ctx, `DELETE FROM outbox WHERE `+these, arg); err != nil {
		return fmt.Errorf("take events out: %w", err)
	}
	return nil
}
