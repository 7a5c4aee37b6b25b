package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

// Partitions is how many parts the outbox is locked in: as many Forwarders can
// work at the same time. It is fixed by the outbox_partitions table.
const Partitions = 16

// signal wakes this process's Forwarder.
const signal = "outbox"

// Publisher publishes events in the caller's transaction. It is safe for
// concurrent use.
type Publisher struct {
	db      *database.DB
	catalog *envelope.Catalog
	source  Source
	config  PublisherConfig
	now     func() time.Time
	newID   func() (uuid.UUID, error)
	warned  sync.Map // who and which type: told once
}

// Source is the identity of this service in the events it publishes.
type Source string

// NewPublisher returns a publisher of the catalog's events.
func NewPublisher(db *database.DB, catalog *envelope.Catalog, source Source, config PublisherConfig) *Publisher {
	config.setDefaults()
	return &Publisher{db: db, catalog: catalog, source: source, config: config, now: time.Now, newID: uuid.NewV7}
}

// Publish writes one event for each payload into the outbox, in order. They
// exist if and only if tx commits; the Forwarder then sends them, at least once
// each, those of one key in the order in which they were committed. The rows of a
// transaction are written together when it is about to commit.
//
// Each payload must be a value of a type in the catalog. Under a handler's ctx
// the events carry its event's correlation id, name it as their cause, and are
// one deeper; Publish fails with envelope.ErrTooDeep past envelope.MaxDepth, and
// with envelope.ErrUndeclared if the handler's consumer hasn't declared the type
// (see PublisherConfig).
func (p *Publisher) Publish(ctx context.Context, tx database.Tx, payloads ...any) error {
	cause, _ := envelope.FromContext(ctx)
	events := make([]event, 0, len(payloads))
	for _, payload := range payloads {
		var err error
		if events, err = p.add(ctx, events, payload, cause); err != nil {
			return fmt.Errorf("outbox: publish: %w", err)
		}
	}
	if err := database.Collect(ctx, tx, p, events, p.write); err != nil {
		return fmt.Errorf("outbox: publish: %w", err)
	}
	return nil
}

// event is a message on its way into the outbox.
type event struct {
	topic   string
	message *message.Message
}

// write stores the events of a transaction: one statement a topic.
func (p *Publisher) write(ctx context.Context, tx database.Tx, events []event) error {
	publisher, err := watermillsql.NewPublisher(executor{tx}, watermillsql.PublisherConfig{SchemaAdapter: schema{db: p.db, now: p.now()}}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("outbox: publish: %w", err)
	}
	var topics []string // in the order of their first event
	byTopic := map[string]message.Messages{}
	for _, e := range events {
		if byTopic[e.topic] == nil {
			topics = append(topics, e.topic)
		}
		byTopic[e.topic] = append(byTopic[e.topic], e.message)
	}
	for _, topic := range topics {
		for messages := range slices.Chunk(byTopic[topic], maxInsert) {
			messages[0].SetContext(ctx) // the context of the statement
			if err := publisher.Publish(topic, messages...); err != nil {
				return fmt.Errorf("outbox: publish: %w", err)
			}
		}
	}
	p.db.Wake(tx, signal)
	return nil
}

// maxInsert is how many rows are written with one statement. More gain nothing,
// and SQLite's time grows with the square.
const maxInsert = 64

// add appends the event of a payload, in each version that it is published in.
func (p *Publisher) add(ctx context.Context, events []event, payload any, cause envelope.Header) ([]event, error) {
	entry, err := p.catalog.OfPayload(reflect.TypeOf(payload))
	if err != nil {
		return nil, err
	}
	if err := p.checkDeclared(ctx, entry); err != nil {
		return nil, err
	}
	id, err := p.newID()
	if err != nil {
		return nil, fmt.Errorf("make an event id: %w", err)
	}
	header := envelope.Header{
		ID: id.String(), Source: string(p.source), Type: entry.Name, Time: p.now().UTC(), PartitionKey: entry.Key(payload),
	}
	if err := header.CausedBy(cause); err != nil {
		return nil, err
	}
	versions, err := entry.Downcast(payload)
	if err != nil {
		return nil, err
	}
	for i, v := range versions {
		header.SchemaVersion, header.FallbackVersion = v.Version, v.FallbackVersion
		m, err := p.message(header, v.Payload)
		if err != nil {
			return nil, err
		}
		if i > 0 { // one event, but not one message
			m.UUID = fmt.Sprintf("%s.v%d", m.UUID, v.Version)
		}
		events = append(events, event{entry.Topic, m})
	}
	return events, nil
}

func (p *Publisher) message(header envelope.Header, payload any) (*message.Message, error) {
	data, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", header.Type, err)
	}
	e := envelope.Envelope{Header: header, Data: data}
	if p.config.Validate != nil {
		if err := p.config.Validate(e); err != nil {
			return nil, err
		}
	}
	m, err := e.Message()
	if err != nil {
		return nil, err
	}
	m.Metadata.Set(typeKey, header.Type)
	return m, nil
}

// checkDeclared holds whoever is at work under ctx to what they have declared, so
// that the graph of events can be trusted.
func (p *Publisher) checkDeclared(ctx context.Context, entry *envelope.Entry) error {
	declared, found := envelope.DeclaredFrom(ctx)
	if !found || slices.Contains(declared.Payloads, entry.Payload) {
		return nil
	}
	line := fmt.Sprintf("consumer.Publishes[%s]()", entry.Payload)
	if !p.config.AllowUndeclared {
		return &envelope.Error{Kind: envelope.ErrUndeclared, Detail: fmt.Sprintf("%q publishes %s: add %s to its declaration", declared.By, entry.Name, line)}
	}
	if _, warned := p.warned.LoadOrStore([2]string{declared.By, entry.Name}, true); !warned {
		p.config.Logger.WarnContext(ctx, "published an event type that isn't declared", "by", declared.By, "event_type", entry.Name, "add", line)
	}
	return nil
}

// typeKey carries the event's type from Publish to the outbox_row; it is not
// stored among the message's metadata.
const typeKey = "outbox_event_type"

// schema is the outbox table as watermill-sql sees it. Only the publishing half
// is in use: the Forwarder reads the rows itself.
type schema struct {
	watermillsql.SchemaAdapter
	db  *database.DB
	now time.Time
}

// InsertQuery implements watermillsql.SchemaAdapter.
func (s schema) InsertQuery(params watermillsql.InsertQueryParams) (watermillsql.Query, error) {
	n := len(params.Msgs)
	partitions, hashes := make([]int64, n), make([]int64, n)
	keys, ids, types, metadata := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	payloads := make([][]byte, n)
	for i, m := range params.Msgs {
		types[i] = m.Metadata.Get(typeKey)
		delete(m.Metadata, typeKey)
		var err error
		if keys[i], metadata[i], err = broker.Headers(m); err != nil {
			return watermillsql.Query{}, err
		}
		hash := broker.Hash(keys[i])
		partitions[i], hashes[i] = int64(hash%Partitions), int64(hash)
		ids[i], payloads[i] = m.UUID, database.Bytes(m.Payload)
	}
	rows, args := s.db.Rows(3, database.Integers("partition", partitions), database.Integers("key_hash", hashes), database.Strings("partition_key", keys),
		database.Strings("event_id", ids), database.Strings("event_type", types), database.Strings("metadata", metadata), database.ByteStrings("payload", payloads))
	return watermillsql.Query{
		Query: `INSERT INTO outbox (topic, created_at, partition, key_hash, partition_key, event_id, event_type, metadata, payload) SELECT $1, $2, r.* FROM (` + rows + `) AS r`,
		Args:  append([]any{params.Topic, s.now}, args...),
	}, nil
}

// executor is a Tx as watermill-sql wants it. It doesn't wait for the database.
type executor struct{ tx database.Tx }

func (e executor) ExecContext(ctx context.Context, query string, args ...any) (watermillsql.Result, error) {
	return database.Queued(e.tx).ExecContext(ctx, query, args...)
}

func (e executor) QueryContext(ctx context.Context, query string, args ...any) (watermillsql.Rows, error) {
	return e.tx.QueryContext(ctx, query, args...)
}
