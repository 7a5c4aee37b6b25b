package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
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
	now     func() time.Time
	newID   func() (uuid.UUID, error)
}

// Source is the identity of this service in the events it publishes.
type Source string

// NewPublisher returns a publisher of the catalog's events.
func NewPublisher(db *database.DB, catalog *envelope.Catalog, source Source) *Publisher {
	return &Publisher{db: db, catalog: catalog, source: source, now: time.Now, newID: uuid.NewV7}
}

// Publish writes one event for each payload into the outbox, in order. They
// exist if and only if tx commits; the Forwarder then sends them, at least once
// each, those of one key in the order in which they were committed.
//
// Each payload must be a value of a type in the catalog. Under a handler's ctx
// the events carry its event's correlation id, name it as their cause, and are
// one deeper; Publish fails with envelope.ErrTooDeep past envelope.MaxDepth.
func (p *Publisher) Publish(ctx context.Context, tx database.Tx, payloads ...any) error {
	var topics []string // in the order of their first event
	byTopic := map[string]message.Messages{}
	cause, _ := envelope.FromContext(ctx)
	for _, payload := range payloads {
		topic, m, err := p.message(payload, cause)
		if err != nil {
			return fmt.Errorf("outbox: publish: %w", err)
		}
		m.SetContext(ctx)
		if byTopic[topic] == nil {
			topics = append(topics, topic)
		}
		byTopic[topic] = append(byTopic[topic], m)
	}
	publisher, err := watermillsql.NewPublisher(executor{tx}, watermillsql.PublisherConfig{SchemaAdapter: schema{now: p.now()}}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("outbox: publish: %w", err)
	}
	for _, topic := range topics {
		if err := publisher.Publish(topic, byTopic[topic]...); err != nil {
			return fmt.Errorf("outbox: publish: %w", err)
		}
	}
	p.db.Wake(tx, signal)
	return nil
}

func (p *Publisher) message(payload any, cause envelope.Header) (topic string, m *message.Message, err error) {
	entry, err := p.catalog.OfPayload(reflect.TypeOf(payload))
	if err != nil {
		return "", nil, err
	}
	id, err := p.newID()
	if err != nil {
		return "", nil, fmt.Errorf("make an event id: %w", err)
	}
	data, err := json.Marshal(payload)
	if err != nil {
		return "", nil, fmt.Errorf("encode %s: %w", entry.Name, err)
	}
	e := envelope.Envelope{
		Header: envelope.Header{
			ID: id.String(), Source: string(p.source), Type: entry.Name, Time: p.now().UTC(),
			SchemaVersion: entry.Version, PartitionKey: entry.Key(payload),
		},
		Data: data,
	}
	if err := e.CausedBy(cause); err != nil {
		return "", nil, err
	}
	m, err = e.Message()
	if err != nil {
		return "", nil, err
	}
	m.Metadata.Set(typeKey, entry.Name)
	return entry.Topic, m, nil
}

// typeKey carries the event's type from Publish to the outbox_row; it is not
// stored among the message's metadata.
const typeKey = "outbox_event_type"

// schema is the outbox table as watermill-sql sees it. Only the publishing half
// is in use: the Forwarder reads the rows itself.
type schema struct {
	watermillsql.SchemaAdapter
	now time.Time
}

// InsertQuery implements watermillsql.SchemaAdapter.
func (s schema) InsertQuery(params watermillsql.InsertQueryParams) (watermillsql.Query, error) {
	args := make([]any, 0, len(params.Msgs)*8)
	for _, m := range params.Msgs {
		metadata := make(message.Metadata, len(m.Metadata))
		for key, value := range m.Metadata {
			if key != typeKey {
				metadata[key] = value
			}
		}
		encoded, err := json.Marshal(metadata)
		if err != nil {
			return watermillsql.Query{}, err
		}
		key := m.Metadata.Get(broker.PartitionKey)
		args = append(args, broker.Partition(key, Partitions), params.Topic, key, m.UUID, m.Metadata.Get(typeKey), string(encoded), database.Bytes(m.Payload), s.now)
	}
	return watermillsql.Query{
		Query: `INSERT INTO outbox (partition, topic, partition_key, event_id, event_type, metadata, payload, created_at) VALUES ` +
			database.Values(len(params.Msgs), 8),
		Args: args,
	}, nil
}

// executor is a Tx as watermill-sql wants it.
type executor struct{ tx database.Tx }

func (e executor) ExecContext(ctx context.Context, query string, args ...any) (watermillsql.Result, error) {
	return e.tx.ExecContext(ctx, query, args...)
}

func (e executor) QueryContext(ctx context.Context, query string, args ...any) (watermillsql.Rows, error) {
	return e.tx.QueryContext(ctx, query, args...)
}
