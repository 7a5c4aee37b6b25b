package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/sync/errgroup"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/inbox"
	"example.com/millwright/internal/infra/outbox"
)

// millwright is this project, put together as internal/app does, with the
// default settings.
type millwright struct {
	variant   variant
	db        *database.DB
	catalog   *envelope.Catalog
	broker    broker.Broker
	members   []broker.Broker // the instances'
	publisher *outbox.Publisher
	logger    *slog.Logger
}

type variant struct {
	queued    bool // the handler's write doesn't wait
	failing   int  // of a hundred events
	instances int
}

var errBad = errors.New("an event that fails for good")

func (v variant) open(ctx context.Context, url string, _ int) (system, error) {
	m := &millwright{variant: v, logger: slog.New(slog.DiscardHandler)}
	var err error
	if m.db, err = database.Open(ctx, database.Config{URL: url}); err != nil {
		return nil, err
	}
	if _, err := m.db.Migrate(ctx, database.InfraMigrations(), sqlqueue.Migrations()); err != nil {
		return nil, errors.Join(err, m.db.Close())
	}
	for _, table := range strings.SplitAfter(tables, ";") {
		if _, err := m.db.ExecContext(ctx, table); err != nil {
			return nil, errors.Join(err, m.db.Close())
		}
	}
	m.catalog, err = envelope.NewCatalog(envelope.Type[happened]{
		Name: "bench.happened", Version: 1, Topic: "bench", Key: func(e happened) string { return e.Key }, Owner: "bench",
	})
	if err != nil {
		return nil, errors.Join(err, m.db.Close())
	}
	queue := sqlqueue.NewLocal(m.db, sqlqueue.Config{}, m.logger)
	m.broker, m.publisher = queue, outbox.NewPublisher(m.db, m.catalog, "bench", outbox.PublisherConfig{})
	return m, queue.EnsureTopics(ctx, "bench")
}

func (m *millwright) produce(ctx context.Context, n int) error {
	return m.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		e := event(n)
		if _, err := database.Queued(tx).ExecContext(ctx, insertBusiness, e.N, e.Key, e.Note); err != nil {
			return err
		}
		return m.publisher.Publish(ctx, tx, e)
	})
}

func (m *millwright) start(ctx context.Context, consumers int, handled func(int)) (func() error, error) {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	stop := func() error {
		cancel()
		return group.Wait()
	}
	for range max(1, m.variant.instances) {
		queue := m.broker
		if local, ok := queue.(*sqlqueue.Local); ok { // each instance is a member of its own
			local = sqlqueue.NewLocal(m.db, sqlqueue.Config{}, m.logger)
			m.members, queue = append(m.members, local), local
		}
		forwarder := outbox.NewForwarder(m.db, queue, outbox.Config{}, m.logger)
		group.Go(func() error { return forwarder.Run(ctx) })
		if consumers == 0 {
			continue
		}
		router, err := consumer.NewRouter(m.consumers(consumers, handled), m.catalog, queue, inbox.New(m.db, m.logger),
			deadletter.NewStore(m.db, deadletter.Config{}, m.logger), consumer.Config{Service: "bench"}, m.logger)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		group.Go(func() error { return router.Run(ctx) })
		<-router.Running()
	}
	group.Go(func() error { return m.db.Listen(ctx, m.logger) })
	return stop, nil
}

func (m *millwright) consumers(n int, handled func(int)) []consumer.Consumer {
	consumers := make([]consumer.Consumer, n)
	for i := range consumers {
		name := fmt.Sprint("consumer-", i)
		consumers[i] = consumer.New(name, consumer.On(func(ctx context.Context, tx database.Tx, e envelope.Event[happened]) error {
			to := tx
			if m.variant.queued {
				to = database.Queued(tx)
			}
			if _, err := to.ExecContext(ctx, insertEffect, name, e.Data.N, e.Data.Key, e.Data.Note); err != nil {
				return err
			}
			if e.Data.N%100 < m.variant.failing {
				return consumer.Permanent(errBad) // after a partial write
			}
			database.OnCommit(tx, func() { handled(e.Data.N) })
			return nil
		}))
	}
	return consumers
}

// unsent reports whether events wait in the outbox.
func (m *millwright) unsent(ctx context.Context) (some bool, err error) {
	err = m.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbox)`).Scan(&some)
	return some, err
}

func (m *millwright) close() error {
	var problems []error
	for _, b := range append(m.members, m.broker) {
		problems = append(problems, b.Close())
	}
	return errors.Join(append(problems, m.db.Close())...)
}
