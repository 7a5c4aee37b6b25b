package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
	"golang.org/x/sync/errgroup"
)

// stock is Watermill as its documentation has it: the Forwarder component
// (https://watermill.io/advanced/forwarder/) with watermill-sql as outbox and as
// queue, and an idempotent transaction written by hand.
type stock struct {
	poll   time.Duration // 0: the default
	joined bool          // the handler works in the subscriber's transaction
	db     *sql.DB
}

const processed = `CREATE TABLE processed (consumer text NOT NULL, event_id text NOT NULL, PRIMARY KEY (consumer, event_id));`

func (s stock) open(ctx context.Context, url string, _ int) (system, error) {
	db, err := openPool(url)
	if err != nil {
		return nil, err
	}
	s.db = db
	if _, err := db.ExecContext(ctx, tables+processed); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for _, topic := range []string{"outbox", "bench"} {
		subscriber, err := s.subscriber("")
		if err == nil {
			err = subscriber.SubscribeInitialize(topic)
		}
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return &s, nil
}

func openPool(url string) (*sql.DB, error) {
	db, err := sql.Open("pgx", url)
	if err == nil {
		db.SetMaxOpenConns(20) // as many as Millwright takes
		db.SetMaxIdleConns(20)
	}
	return db, err
}

func (s *stock) subscriber(group string) (*watermillsql.Subscriber, error) {
	return watermillsql.NewSubscriber(watermillsql.BeginnerFromStdSQL(s.db), watermillsql.SubscriberConfig{
		ConsumerGroup: group, PollInterval: s.poll, InitializeSchema: true,
		SchemaAdapter: watermillsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: watermillsql.DefaultPostgreSQLOffsetsAdapter{},
	}, watermill.NopLogger{})
}

func (s *stock) produce(ctx context.Context, n int) (err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	e := event(n)
	if _, err := tx.ExecContext(ctx, insertBusiness, e.N, e.Key, e.Note); err != nil {
		return err
	}
	toTx, err := watermillsql.NewPublisher(watermillsql.TxFromStdSQL(tx), watermillsql.PublisherConfig{SchemaAdapter: watermillsql.DefaultPostgreSQLSchema{}}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return err
	}
	m := message.NewMessage(watermill.NewUUID(), payload)
	m.SetContext(ctx)
	if err := forwarder.NewPublisher(toTx, forwarder.PublisherConfig{ForwarderTopic: "outbox"}).Publish("bench", m); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *stock) start(ctx context.Context, consumers int, handled func(int)) (func() error, error) {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	stop := func() error {
		cancel()
		return group.Wait()
	}
	from, err := s.subscriber("forwarder")
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	to, err := watermillsql.NewPublisher(watermillsql.BeginnerFromStdSQL(s.db), watermillsql.PublisherConfig{SchemaAdapter: watermillsql.DefaultPostgreSQLSchema{}}, watermill.NopLogger{})
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	forward, err := forwarder.NewForwarder(from, to, watermill.NopLogger{}, forwarder.Config{ForwarderTopic: "outbox"})
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	for i := range consumers {
		name := fmt.Sprint("consumer-", i)
		subscriber, err := s.subscriber(name)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		router.AddConsumerHandler(name, "bench", subscriber, func(m *message.Message) error { return s.handle(m, name, handled) })
	}
	group.Go(func() error { return forward.Run(ctx) })
	<-forward.Running()
	if consumers > 0 {
		group.Go(func() error { return router.Run(ctx) })
		<-router.Running()
	}
	return stop, nil
}

func (s *stock) handle(m *message.Message, name string, handled func(int)) error {
	var e happened
	if err := json.Unmarshal(m.Payload, &e); err != nil {
		return err
	}
	if s.joined {
		tx, ok := watermillsql.TxFromContext(m.Context())
		if !ok {
			return errors.New("no transaction in the context")
		}
		if err := apply(m.Context(), tx.ExecContext, m.UUID, name, e); err != nil {
			return err
		}
		handled(e.N) // its commit is out of reach
		return nil
	}
	tx, err := s.db.BeginTx(m.Context(), nil)
	if err != nil {
		return err
	}
	err = apply(m.Context(), func(ctx context.Context, query string, args ...any) (watermillsql.Result, error) {
		return tx.ExecContext(ctx, query, args...)
	}, m.UUID, name, e)
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	handled(e.N)
	return nil
}

type execer func(ctx context.Context, query string, args ...any) (watermillsql.Result, error)

func apply(ctx context.Context, exec execer, id, name string, e happened) error {
	result, err := exec(ctx, `INSERT INTO processed (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, id)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = exec(ctx, insertEffect, name, e.N, e.Key, e.Note)
	return err
}

func (s *stock) close() error {
	err := s.db.Close()
	if err != nil && strings.Contains(err.Error(), "closed") {
		return nil
	}
	return err
}
