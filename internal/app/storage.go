package app

import (
	"context"
	"errors"
	"fmt"

	"example.com/millwright/internal/handlers"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/database"
)

// Storage is the service's database and, where the queue has one of its own,
// that.
type Storage struct {
	db    *database.DB
	queue *database.DB // db itself; nil if the broker is no database
}

// OpenStorage connects to the databases that the configuration names.
func OpenStorage(ctx context.Context, config Config) (*Storage, func(), error) {
	db, err := database.Open(ctx, database.Config{URL: config.DatabaseURL, MaxConns: config.DatabaseMaxConns})
	if err != nil {
		return nil, nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	s := &Storage{db: db}
	switch {
	case config.Broker != brokerSQL:
	case config.BrokerURL == "" || config.BrokerURL == config.DatabaseURL:
		s.queue = db
	default:
		s.queue, err = database.Open(ctx, database.Config{URL: config.BrokerURL, MaxConns: config.DatabaseMaxConns})
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("BROKER_URL: %w", err), db.Close())
		}
	}
	return s, s.close, nil
}

func (s *Storage) close() {
	_ = s.db.Close() // everything was committed or not: there is nothing to flush
	if s.queue != nil && s.queue != s.db {
		_ = s.queue.Close()
	}
}

// Migrate applies the migrations that are missing and returns their names.
func (s *Storage) Migrate(ctx context.Context) ([]string, error) {
	applied, err := s.db.Migrate(ctx, database.InfraMigrations(), handlers.Migrations())
	if err != nil || s.queue == nil {
		return applied, err
	}
	more, err := s.queue.Migrate(ctx, sqlqueue.Migrations())
	return append(applied, more...), err
}

// CheckSchema fails if a migration is missing.
func (s *Storage) CheckSchema(ctx context.Context) error {
	err := s.db.CheckSchema(ctx, database.InfraMigrations(), handlers.Migrations())
	if err == nil && s.queue != nil {
		err = s.queue.CheckSchema(ctx, sqlqueue.Migrations())
	}
	if errors.Is(err, database.ErrSchemaOutdated) {
		return fmt.Errorf("%w: run `service migrate`, or start with --migrate", err)
	}
	return err
}

// String says where the data is, without secrets.
func (s *Storage) String() string { return s.db.String() }

// openNothing is an empty database in memory, for those who want to know how the
// service is put together and not to run it.
func openNothing(ctx context.Context) (*database.DB, func(), error) {
	db, err := database.Open(ctx, database.Config{URL: "sqlite::memory:", MaxConns: 1})
	if err != nil {
		return nil, nil, err
	}
	return db, func() { _ = db.Close() }, nil // nothing is in it
}

func provideDB(s *Storage) *database.DB { return s.db }
