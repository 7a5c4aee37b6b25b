package database

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var infraMigrations embed.FS

// Migrations is one sequence of schema changes with a version table of its own,
// so that the machinery's and the service's don't get in each other's way.
type Migrations struct {
	// Name is the sequence's name; its versions are kept in migrations_<Name>.
	Name string
	// Files holds goose migrations (00001_name.sql) in migrations/postgres and
	// migrations/sqlite.
	Files fs.FS
}

// InfraMigrations makes the machinery's own tables: outbox, processed,
// dead_letters.
func InfraMigrations() Migrations {
	return Migrations{Name: "infra", Files: infraMigrations}
}

// ErrSchemaOutdated is returned by CheckSchema when migrations have not been
// applied yet.
var ErrSchemaOutdated = errors.New("the database schema is older than this build")

// Migrate applies what is missing, one process at a time, and returns the names
// of the files applied.
func (db *DB) Migrate(ctx context.Context, sequences ...Migrations) ([]string, error) {
	var applied []string
	for _, sequence := range sequences {
		provider, err := db.provider(sequence)
		if err != nil {
			return applied, err
		}
		results, err := provider.Up(ctx)
		for _, r := range results {
			applied = append(applied, sequence.Name+"/"+r.Source.Path)
		}
		if err != nil {
			return applied, fmt.Errorf("database: migrate %s: %w", sequence.Name, err)
		}
	}
	return applied, nil
}

// CheckSchema returns an error that wraps ErrSchemaOutdated and names the
// sequence and both versions if a migration is missing. It writes nothing.
func (db *DB) CheckSchema(ctx context.Context, sequences ...Migrations) error {
	for _, sequence := range sequences {
		provider, err := db.provider(sequence)
		if err != nil {
			return err
		}
		var current int64
		sources := provider.ListSources()
		target := sources[len(sources)-1].Version
		exists, err := db.HasTable(ctx, sequence.table())
		if err != nil {
			return err
		}
		if exists {
			if err := db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM `+sequence.table()).Scan(&current); err != nil {
				return fmt.Errorf("database: read %s: %w", sequence.table(), err)
			}
		}
		if current < target {
			return fmt.Errorf("%w: %s is at version %d, this build needs %d", ErrSchemaOutdated, sequence.Name, current, target)
		}
	}
	return nil
}

func (m Migrations) table() string { return "migrations_" + m.Name }

// HasTable reports whether there is a table of that name.
func (db *DB) HasTable(ctx context.Context, name string) (bool, error) {
	query := `SELECT to_regclass($1) IS NOT NULL`
	if db.dialect == SQLite {
		query = `SELECT COUNT(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = $1`
	}
	var exists bool
	if err := db.QueryRowContext(ctx, query, name).Scan(&exists); err != nil {
		return false, fmt.Errorf("database: look for table %s: %w", name, err)
	}
	return exists, nil
}

func (db *DB) provider(m Migrations) (*goose.Provider, error) {
	files, err := fs.Sub(m.Files, "migrations/"+string(db.dialect))
	if err != nil {
		return nil, fmt.Errorf("database: migrations %s: %w", m.Name, err)
	}
	options := []goose.ProviderOption{goose.WithTableName(m.table()), goose.WithDisableGlobalRegistry(true)}
	dialect := goose.DialectSQLite3
	if db.dialect == Postgres {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, fmt.Errorf("database: migration lock: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(dialect, db.write, files, options...)
	if err != nil {
		return nil, fmt.Errorf("database: migrations %s for %s: %w", m.Name, db.dialect, err)
	}
	return provider, nil
}
