package sqlqueue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

// publisher is the queue as Watermill sees it.
type publisher struct{ b *Broker }

// Publish implements message.Publisher: all messages or none.
func (p publisher) Publish(topic string, messages ...*message.Message) error {
	if p.b.closed.Load() {
		return errClosed
	}
	if len(messages) == 0 {
		return nil
	}
	return p.b.db.InTx(messages[0].Context(), func(ctx context.Context, tx database.Tx) error {
		for part := range slices.Chunk(messages, maxPublish) {
			rows, err := p.b.rows(part)
			if err != nil {
				return fmt.Errorf("sqlqueue: publish to %s: %w", topic, err)
			}
			if err := p.b.append(ctx, tx, topic, rows); err != nil {
				return err
			}
		}
		return nil
	})
}

// maxPublish is how many messages are written with one statement.
const maxPublish = 64

// Close implements message.Publisher. There is nothing to flush.
func (p publisher) Close() error { return nil }

// rows brings messages from outside into the database's reach.
func (b *Broker) rows(messages []*message.Message) (broker.Rows, error) {
	n := len(messages)
	ids, hashes, payloads := make([]int64, n), make([]int64, n), make([][]byte, n)
	keys, uuids, metadata := make([]string, n), make([]string, n), make([]string, n)
	rows := broker.Rows{KeyHashes: make([]uint32, n)}
	for i, m := range messages {
		key, encoded, err := broker.Headers(m)
		if err != nil {
			return rows, fmt.Errorf("encode metadata: %w", err)
		}
		rows.KeyHashes[i] = broker.Hash(key)
		ids[i], hashes[i], payloads[i] = int64(i), int64(rows.KeyHashes[i]), database.Bytes(m.Payload)
		keys[i], uuids[i], metadata[i] = key, m.UUID, encoded
	}
	rows.Query, rows.Args = b.db.Rows(1, database.Integers("id", ids), database.Integers("key_hash", hashes), database.ByteStrings("payload", payloads),
		database.Strings("partition_key", keys), database.Strings("message_id", uuids), database.Strings("metadata", metadata))
	return rows, nil
}

// PublishTx implements broker.TxPublisher.
func (l *Local) PublishTx(ctx context.Context, tx database.Tx, topic string, rows broker.Rows) error {
	return l.append(ctx, tx, topic, rows)
}

// append adds rows to the logs of their partitions. The lock on a partition's
// row, held until tx ends, is what makes offsets gapless and visible in order. It
// is a statement of its own, so that the next one sees what the lock waited for.
func (b *Broker) append(ctx context.Context, tx database.Tx, topic string, rows broker.Rows) error {
	count, err := b.partitions(ctx, tx, topic)
	if err != nil {
		return fmt.Errorf("sqlqueue: publish to %s: %w", topic, err)
	}
	if count == 0 {
		return fmt.Errorf("sqlqueue: publish: %w: topic %q does not exist: is it in the catalog?", broker.ErrRejected, topic)
	}
	if _, known := b.topics.Load(topic); !known {
		database.OnCommit(tx, func() { b.topics.Store(topic, count) }) // not before: tx may be what creates it
	}
	var partitions []int64
	for _, hash := range rows.KeyHashes {
		partitions = append(partitions, int64(hash%uint32(count)))
	}
	slices.Sort(partitions)
	partitions = slices.Compact(partitions)

	if err := database.FollowIndexes(ctx, tx); err != nil {
		return fmt.Errorf("sqlqueue: publish to %s: %w", topic, err)
	}
	queue := database.Queued(tx)
	these, arg := b.db.AnyOf("partition", 2, partitions)
	if b.db.Dialect() == database.Postgres {
		// Always in the same order, so that publishers wait instead of deadlocking.
		_, err = queue.ExecContext(ctx, `SELECT 1 FROM queue_partitions WHERE topic = $1 AND `+these+` ORDER BY partition FOR UPDATE`, topic, arg)
		if err != nil {
			return fmt.Errorf("sqlqueue: publish to %s: lock partitions: %w", topic, err)
		}
	}
	n := len(rows.Args)
	_, err = queue.ExecContext(ctx, fmt.Sprintf(`
		WITH r AS (%s) INSERT INTO queue_log (topic, partition, "offset", message_id, partition_key, metadata, payload, created_at)
		SELECT p.topic, p.partition, p.next_offset + ROW_NUMBER() OVER (PARTITION BY p.partition ORDER BY r.id) - 1,
			r.message_id, r.partition_key, r.metadata, r.payload, $%d
		FROM r JOIN queue_partitions p ON p.topic = $%d AND p.partition = r.key_hash %% $%d`, rows.Query, n+1, n+2, n+3),
		append(slices.Clone(rows.Args), time.Now(), topic, count)...)
	if err != nil {
		return fmt.Errorf("sqlqueue: publish to %s: %w", topic, err)
	}
	_, err = queue.ExecContext(ctx, `
		UPDATE queue_partitions AS p SET next_offset = COALESCE(
			(SELECT MAX(l."offset") + 1 FROM queue_log l WHERE l.topic = p.topic AND l.partition = p.partition), p.next_offset)
		WHERE topic = $1 AND `+these, topic, arg)
	if err != nil {
		return fmt.Errorf("sqlqueue: publish to %s: move heads: %w", topic, err)
	}
	return b.db.WakeEveryone(ctx, tx, signal)
}
