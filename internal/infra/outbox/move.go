package outbox

import (
	"context"
	"errors"
	"maps"
	"slices"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// move forwards to a queue in the same database, in three round trips: lock the
// partitions, see what is due, and move it, marks and commit included. The
// payloads stay where they are.
func (f *Forwarder) move(ctx context.Context) (n int, err error) {
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
		return f.mark(ctx, tx, outcomes)
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
		ids, hashes := make([]int64, len(rows)), make([]uint32, len(rows))
		for i, r := range rows {
			ids[i], hashes[i] = r.id, r.keyHash
		}
		these, arg := f.db.AnyOf("id", 1, ids)
		err := f.inTx.PublishTx(ctx, tx, topic, broker.Rows{
			Select:    `SELECT id, key_hash, partition_key, event_id AS message_id, metadata, payload FROM outbox WHERE ` + these,
			Args:      []any{arg},
			KeyHashes: hashes,
		})
		if err != nil && !errors.Is(err, broker.ErrRejected) {
			return nil, err
		}
		for _, r := range rows {
			outcomes = append(outcomes, outcome{r, err})
		}
	}
	return outcomes, nil
}
