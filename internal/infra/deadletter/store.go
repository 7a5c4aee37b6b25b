package deadletter

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

// State is where a dead letter is in its life.
type State string

// The states.
const (
	Scheduled State = "scheduled"
	Dead      State = "dead"
	Replaying State = "replaying"
	Resolved  State = "resolved"
	Discarded State = "discarded"
)

// States lists them all, in the order of a dead letter's life.
var States = []State{Dead, Scheduled, Replaying, Resolved, Discarded}

// signal wakes the subscribers when something was released for replay.
const signal = "deadletter"

// Config tunes the store.
type Config struct {
	// Poll is the longest pause between two looks for replays, which are for all
	// consumers together; a wake-up shortens it. Defaults to 5s, and on SQLite,
	// where another process can't wake this one and a look costs no round trip, to
	// 1s.
	Poll time.Duration
	// Batch is how many dead letters a subscriber claims at a time. Defaults to
	// 64.
	Batch int
	// Lease is how long the claims of a process that died last. Defaults to 10s.
	Lease time.Duration
	// CloseTimeout is how long a subscriber that closes waits for what is in
	// flight. Defaults to 10s.
	CloseTimeout time.Duration
}

func (c *Config) setDefaults(dialect database.Dialect) {
	if dialect == database.SQLite {
		c.Poll = cmp.Or(c.Poll, time.Second)
	}
	c.Poll = cmp.Or(c.Poll, 5*time.Second)
	c.Batch = cmp.Or(c.Batch, 64)
	c.Lease = cmp.Or(c.Lease, 10*time.Second)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 10*time.Second)
}

// Store holds the dead letters. It is safe for concurrent use.
type Store struct {
	db      *database.DB
	config  Config
	logger  *slog.Logger
	lookout lookout
}

var _ message.Publisher = (*Store)(nil)

// NewStore returns the store in db.
func NewStore(db *database.DB, config Config, logger *slog.Logger) *Store {
	config.setDefaults(db.Dialect())
	return &Store{db: db, config: config, logger: logger}
}

// Publish implements message.Publisher for Watermill's PoisonQueue: topic is the
// consumer that gave up on the messages.
func (s *Store) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		// The event is lost to this process if it can't be written now, so a
		// shutdown must not interrupt it.
		if err := s.add(context.WithoutCancel(m.Context()), topic, m); err != nil {
			return err
		}
	}
	return nil
}

// Close implements message.Publisher. There is nothing to flush.
func (s *Store) Close() error { return nil }

func (s *Store) add(ctx context.Context, consumer string, m *message.Message) error {
	failure := failureFrom(m)
	event, _ := envelope.FromMessage(m) // as much of the header as can be read
	metadata, err := json.Marshal(asReceived(m.Metadata))
	if err != nil {
		return fmt.Errorf("deadletter: encode metadata: %w", err)
	}
	chain, err := json.Marshal(failure.chain())
	if err != nil {
		return fmt.Errorf("deadletter: encode error chain: %w", err)
	}
	var id int64
	now := time.Now()
	err = s.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		return tx.QueryRowContext(ctx, `
			INSERT INTO dead_letters (consumer, identity, state, topic, event_id, event_type, schema_version, partition_key,
				message_id, metadata, payload, error, error_chain, stack, attempts, first_failed_at, last_failed_at)
			VALUES ($1, $2, 'dead', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
			ON CONFLICT (consumer, identity) DO UPDATE SET
				state = 'dead', error = excluded.error, error_chain = excluded.error_chain, stack = excluded.stack,
				attempts = dead_letters.attempts + excluded.attempts, last_failed_at = excluded.last_failed_at,
				due_at = NULL, claimed_by = '', claimed_until = NULL, closed_at = NULL
			RETURNING id`,
			consumer, storable(identity(event, m)), failure.topic, storable(event.ID), storable(event.Type), event.SchemaVersion,
			storable(event.PartitionKey), storable(m.UUID), string(metadata), database.Bytes(m.Payload), storable(failure.headline()),
			string(chain), storable(failure.stack()), failure.attempts, failure.firstAt, now).Scan(&id)
	})
	if err != nil {
		return fmt.Errorf("deadletter: store event %q of consumer %s: %w", m.UUID, consumer, err)
	}
	s.logger.ErrorContext(ctx, "event became a dead letter", "dead_letter", id, "consumer", consumer,
		"event_id", event.ID, "event_type", event.Type, "correlation_id", event.CorrelationID,
		"attempts", failure.attempts, "error", failure.headline())
	return nil
}

// identity tells events apart: by id and source, as CloudEvents does, and by
// content where there are none to be read.
func identity(event envelope.Envelope, m *message.Message) string {
	if event.ID != "" && event.Source != "" {
		return event.ID + " " + event.Source
	}
	digest := sha256.New()
	digest.Write([]byte(m.UUID))
	digest.Write([]byte{0})
	digest.Write(m.Payload)
	return "sha256:" + hex.EncodeToString(digest.Sum(nil))
}

// storable is text as a database takes it, which must not fail here: valid UTF-8
// without NUL. The payload, which is bytes, is stored as it is.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// asReceived drops what PoisonQueue adds to the metadata.
func asReceived(metadata message.Metadata) message.Metadata {
	received := make(message.Metadata, len(metadata))
	for key, value := range metadata {
		switch key {
		case middleware.ReasonForPoisonedKey, middleware.PoisonedTopicKey, middleware.PoisonedHandlerKey, middleware.PoisonedSubscriberKey:
		default:
			received[key] = value
		}
	}
	return received
}
