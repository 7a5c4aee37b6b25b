package sqlqueue

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
)

//go:embed migrations
var migrations embed.FS

// Migrations makes the queue's tables. They are a sequence of their own because
// the queue may be in another database than the service's tables.
func Migrations() database.Migrations {
	return database.Migrations{Name: "queue", Files: migrations}
}

// signal wakes the readers.
const signal = "queue"

// Config tunes the queue.
type Config struct {
	// Partitions is how many partitions a new topic gets. Defaults to 16.
	Partitions int
	// Window bounds the messages of a partition that are in flight or waiting in
	// memory, for each group. Defaults to 100.
	Window int
	// WindowBytes bounds their payloads, as far as the size of the next ones can be
	// guessed from the last. Defaults to 1 MiB.
	WindowBytes int
	// Lease is how long a process that has died keeps its partitions. It is renewed
	// three times as often. Defaults to 6s.
	Lease time.Duration
	// Poll is the longest pause between two looks for new messages; a wake-up, and
	// the renewal of the lease, shorten it. Defaults to 5s.
	Poll time.Duration
	// RetryPause is the pause before a nacked message is delivered again; it
	// doubles each time, up to 5s. Defaults to 100ms.
	RetryPause time.Duration
	// Reads is how many reads are under way at the same time, by all consumers
	// together: if the queue is slow or locked, the other connections of the pool
	// stay free for others. Defaults to 4.
	Reads int
	// CloseTimeout is how long a subscriber that closes waits for the messages
	// in flight. Defaults to 10s.
	CloseTimeout time.Duration
}

func (c *Config) setDefaults() {
	c.Partitions = cmp.Or(c.Partitions, 16)
	c.Window = cmp.Or(c.Window, 100)
	c.WindowBytes = cmp.Or(c.WindowBytes, 1<<20)
	c.Lease = cmp.Or(c.Lease, 6*time.Second)
	c.Poll = cmp.Or(c.Poll, 5*time.Second)
	c.RetryPause = cmp.Or(c.RetryPause, 100*time.Millisecond)
	c.Reads = cmp.Or(c.Reads, 4)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 10*time.Second)
}

// Broker is a queue in a database that may be another than the service's.
type Broker struct {
	db     *database.DB
	config Config
	logger *slog.Logger

	member *member
	heads  chan struct{} // asks for a look at the heads of the log
	topics sync.Map      // name: number of partitions, of those that were seen to exist
	reads  chan struct{} // a place for each read under way
	closed atomic.Bool
	work   work
}

// work is what runs for all subscriptions, from the first of them to Close.
type work struct {
	mu      sync.Mutex
	cancel  context.CancelFunc
	running sync.WaitGroup
}

var (
	_ broker.Broker      = (*Broker)(nil)
	_ broker.Broker      = (*Local)(nil)
	_ broker.TxPublisher = (*Local)(nil)
)

// New returns a queue in db, whose tables must exist. The caller closes db after
// the Broker.
func New(db *database.DB, config Config, logger *slog.Logger) *Broker {
	config.setDefaults()
	return &Broker{
		db: db, config: config, logger: logger.With("component", "sqlqueue"),
		member: newMember(), heads: make(chan struct{}, 1), reads: make(chan struct{}, config.Reads),
	}
}

// Local is a queue in the service's own database, where events move from the
// outbox to the queue in one transaction.
type Local struct{ *Broker }

// NewLocal returns a queue in the service's own database.
func NewLocal(db *database.DB, config Config, logger *slog.Logger) *Local {
	return &Local{New(db, config, logger)}
}

// String implements broker.Broker.
func (b *Broker) String() string { return "sqlqueue in " + b.db.String() }

// Abilities implements broker.Broker.
func (b *Broker) Abilities() broker.Abilities {
	return broker.Abilities{Ordered: true, Durable: true, Replayable: true}
}

// Ping implements broker.Broker. It reads a table, so that a queue that is there
// but locked doesn't count as well.
func (b *Broker) Ping(ctx context.Context) error {
	var topics bool
	if err := b.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM queue_partitions)`).Scan(&topics); err != nil {
		return fmt.Errorf("sqlqueue: ping: %w", err)
	}
	return nil
}

// Close implements broker.Broker.
func (b *Broker) Close() error {
	b.work.mu.Lock()
	b.closed.Store(true)
	if b.work.cancel != nil {
		b.work.cancel()
	}
	b.work.mu.Unlock()
	b.work.running.Wait()
	return nil
}

func (b *Broker) startWork() {
	b.work.mu.Lock()
	defer b.work.mu.Unlock()
	if b.work.cancel != nil || b.closed.Load() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.work.cancel = cancel
	b.work.running.Go(func() { b.keepLeases(ctx) })
	b.work.running.Go(func() { b.watchHeads(ctx) })
}

// Publisher implements broker.Broker.
func (b *Broker) Publisher() message.Publisher { return publisher{b} }

// Subscriber implements broker.Broker.
func (b *Broker) Subscriber(group string) (message.Subscriber, error) {
	if b.closed.Load() {
		return nil, errClosed
	}
	if group == "" {
		return nil, errors.New("sqlqueue: the consumer group's name is empty")
	}
	return newSubscriber(b, group), nil
}

// EnsureTopics implements broker.Broker.
func (b *Broker) EnsureTopics(ctx context.Context, topics ...string) error {
	err := b.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		for _, topic := range topics {
			partitions, err := b.partitions(ctx, tx, topic)
			if err != nil || partitions > 0 {
				return err // a topic keeps the number it was made with
			}
			args := make([]any, 0, b.config.Partitions*2)
			for p := range b.config.Partitions {
				args = append(args, topic, p)
			}
			query := `INSERT INTO queue_partitions (topic, partition) VALUES ` + database.Values(b.config.Partitions, 2) + ` ON CONFLICT DO NOTHING`
			if _, err := tx.ExecContext(ctx, query, args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sqlqueue: create topics: %w", err)
	}
	return nil
}

// partitions is how many the topic has, 0 if it doesn't exist. The number never
// changes.
func (b *Broker) partitions(ctx context.Context, tx database.Tx, topic string) (n int, err error) {
	if known, ok := b.topics.Load(topic); ok {
		return known.(int), nil
	}
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM queue_partitions WHERE topic = $1`, topic).Scan(&n)
	return n, err
}

// Lag implements broker.Broker.
func (b *Broker) Lag(ctx context.Context, group, topic string) (int64, error) {
	var lag int64
	err := b.db.QueryRowContext(ctx, `
		SELECT CAST(COALESCE(SUM(p.next_offset - COALESCE(c.next_offset,
			(SELECT MIN(l."offset") FROM queue_log l WHERE l.topic = p.topic AND l.partition = p.partition), p.next_offset)), 0) AS bigint)
		FROM queue_partitions p
		LEFT JOIN queue_cursors c ON c.topic = p.topic AND c.partition = p.partition AND c.consumer_group = $1
		WHERE p.topic = $2`, group, topic).Scan(&lag)
	if err != nil {
		return 0, fmt.Errorf("sqlqueue: lag of %s on %s: %w", group, topic, err)
	}
	return lag, nil
}

// Table is where the messages of all topics are stored.
func Table(db *database.DB) broker.Table {
	return broker.Table{
		DB: db, Name: "queue_log", ID: `topic || '/' || CAST(partition AS text) || '/' || CAST("offset" AS text)`,
		Number: `"offset"`, MessageID: "message_id",
	}
}

var errClosed = errors.New("sqlqueue: the broker is closed")

// Prune deletes up to limit messages of a topic that every group has passed and
// that are older than before, and returns how many. It is a retention job.
func Prune(ctx context.Context, tx database.Tx, before time.Time, limit int) (int64, error) {
	result, err := tx.ExecContext(ctx, `
		DELETE FROM queue_log WHERE (topic, partition, "offset") IN (
			SELECT l.topic, l.partition, l."offset" FROM (
				SELECT p.topic, p.partition, COALESCE(MIN(c.next_offset), p.next_offset) AS passed
				FROM queue_partitions p LEFT JOIN queue_cursors c ON c.topic = p.topic AND c.partition = p.partition
				GROUP BY p.topic, p.partition, p.next_offset) AS f
			JOIN queue_log l ON l.topic = f.topic AND l.partition = f.partition AND l."offset" < f.passed
			WHERE l.created_at < $1 LIMIT $2)`, before, limit)
	if err != nil {
		return 0, fmt.Errorf("sqlqueue: prune: %w", err)
	}
	return result.RowsAffected()
}
