package database

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // registers the "sqlite" driver
)

// Dialect tells the databases apart where their SQL differs.
type Dialect string

// The supported databases.
const (
	Postgres Dialect = "postgres"
	SQLite   Dialect = "sqlite"
)

// Config says which database to open.
type Config struct {
	// URL is postgres://user:password@host/name?… or sqlite:path/to/file.db.
	// Required.
	URL string
	// MaxConns bounds the pool (on SQLite: of readers). Defaults to 20.
	MaxConns int
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	dialect Dialect
	conns   int
	write   *sql.DB
	read    *sql.DB // the same as write on PostgreSQL
	where   string  // for people: no password in it
	id      string  // tells this process's wake-ups from others'
	wakeups wakeups
	once    struct {
		sync.Mutex
		done map[string]bool
	}
}

// ErrURL is returned for a database URL that can't be understood.
var ErrURL = errors.New("not a database URL")

// ParseURL checks a database URL and says which database it names.
func ParseURL(raw string) (Dialect, error) {
	scheme, rest, found := strings.Cut(raw, ":")
	switch {
	case found && (scheme == "postgres" || scheme == "postgresql") && strings.HasPrefix(rest, "//"):
		if _, err := url.Parse(raw); err != nil {
			return "", fmt.Errorf("%w: it doesn't parse as a URL", ErrURL) // err repeats the URL, password and all
		}
		return Postgres, nil
	case found && scheme == "sqlite":
		if strings.TrimPrefix(rest, "//") == "" {
			return "", fmt.Errorf("%w: the file's name is missing", ErrURL)
		}
		return SQLite, nil
	}
	return "", ErrURL
}

// Open connects to the database and checks that it answers. On SQLite the file
// and its folder are made if missing. The caller closes the DB.
func Open(ctx context.Context, config Config) (*DB, error) {
	dialect, err := ParseURL(config.URL)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	config.MaxConns = cmp.Or(config.MaxConns, 20)
	var db *DB
	if dialect == Postgres {
		db, err = openPostgres(config)
	} else {
		db, err = openSQLite(config)
	}
	if err != nil {
		return nil, fmt.Errorf("database: open %s: %w", dialect, err)
	}
	if err := db.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("database: connect to %s: %w", db.where, err), db.Close())
	}
	return db, nil
}

func openPostgres(config Config) (*DB, error) {
	parsed, err := pgx.ParseConfig(config.URL)
	if err != nil {
		return nil, err
	}
	pool := stdlib.OpenDB(*parsed, stdlib.OptionShouldPing(shouldPing))
	pool.SetMaxOpenConns(config.MaxConns)
	pool.SetMaxIdleConns(config.MaxConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return &DB{dialect: Postgres, id: uuid.NewString(), conns: config.MaxConns, write: pool, read: pool, where: Redact(config.URL)}, nil
}

func openSQLite(config Config) (*DB, error) {
	file := strings.TrimPrefix(strings.TrimPrefix(config.URL, "sqlite:"), "//")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	open := func(conns int, options ...string) (*sql.DB, error) {
		options = append(options,
			"_pragma=busy_timeout(10000)", "_pragma=journal_mode(WAL)", "_pragma=synchronous(FULL)", "_pragma=foreign_keys(1)",
			"_inttotime=1", "_time_integer_format=unix_micro")
		pool, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: strings.Join(options, "&")}).String())
		if err == nil {
			pool.SetMaxOpenConns(conns)
			pool.SetMaxIdleConns(conns)
		}
		return pool, err
	}
	write, err := open(1, "_txlock=immediate")
	if err != nil {
		return nil, err
	}
	read, err := open(min(config.MaxConns, 4), "_pragma=query_only(1)")
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	// The writer goes first: it is the one that makes the file.
	return &DB{dialect: SQLite, conns: 1, write: write, read: read, where: file}, nil
}

// Redact returns the URL without its password.
func Redact(raw string) string {
	u, err := url.Parse(raw)
	// Without scheme:// it isn't known where a password would be.
	if err != nil || u.Scheme == "" || u.Scheme != string(SQLite) && !strings.Contains(raw, "://") {
		return "(unreadable URL)"
	}
	if q := u.Query(); q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

// Dialect says which database this is.
func (db *DB) Dialect() Dialect { return db.dialect }

// Writers is how many transactions can be open at a time: on SQLite one.
func (db *DB) Writers() int { return db.conns }

// String says where the data is, without secrets.
func (db *DB) String() string { return db.where }

// Pool is the writing pool, for libraries that want a *sql.DB (migrations) and
// for tests.
func (db *DB) Pool() *sql.DB { return db.write }

// Once runs f unless a function has succeeded under that name since the database
// was opened.
func (db *DB) Once(name string, f func() error) error {
	db.once.Lock()
	defer db.once.Unlock()
	if db.once.done[name] {
		return nil
	}
	if err := f(); err != nil {
		return err
	}
	if db.once.done == nil {
		db.once.done = map[string]bool{}
	}
	db.once.done[name] = true
	return nil
}

// Ping checks that the database answers.
func (db *DB) Ping(ctx context.Context) error {
	return errors.Join(db.write.PingContext(ctx), db.read.PingContext(ctx))
}

// Close closes all connections. It may be called twice.
func (db *DB) Close() error {
	db.wakeups.close()
	if db.read == db.write {
		return db.write.Close()
	}
	return errors.Join(db.read.Close(), db.write.Close())
}

// ExecContext runs one statement in a transaction of its own.
func (db *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return db.write.ExecContext(ctx, query, args...)
}

// QueryContext reads. On SQLite a statement that writes fails here.
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return db.read.QueryContext(ctx, query, args...)
}

// QueryRowContext reads one row. On SQLite a statement that writes fails here.
func (db *DB) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return db.read.QueryRowContext(ctx, query, args...)
}

// maxTries bounds how often InTx runs a transaction that the database broke off
// for a reason that goes away by itself.
const maxTries = 5

// InTx runs f in a transaction and commits it if f returns nil, else rolls it
// back and returns f's error. A transaction that the database broke off because
// of another one (deadlock, serialization failure, SQLite's busy) is run again,
// a few times, with a growing pause: f must therefore be free of effects
// outside the transaction. A panic in f rolls back and goes on.
//
// An error from the commit itself is returned as it is: the outcome is then
// unknown to the caller unless [IsUnavailable] says otherwise.
func (db *DB) InTx(ctx context.Context, f func(ctx context.Context, tx Tx) error) error {
	err := db.inTx(ctx, f)
	if err == nil || !mayRunAgain(err) {
		return err
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 5*time.Millisecond, 200*time.Millisecond
	for range maxTries - 1 {
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(pause.NextBackOff()):
		}
		if err = db.inTx(ctx, f); err == nil || !mayRunAgain(err) {
			return err
		}
	}
	return err
}

// mayRunAgain reports whether a transaction that failed with err was rolled back
// for a reason that may be gone.
func mayRunAgain(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false // somebody's time was over
	}
	return IsConflict(err) || isStale(err)
}

func (db *DB) inTx(ctx context.Context, f func(ctx context.Context, tx Tx) error) error {
	t, err := db.begin(ctx)
	if err != nil {
		return err
	}
	committed := false
	h := &handle{t: t}
	defer func() {
		h.end()
		var broken error
		if !committed {
			broken = t.rollback(ctx) // the first error matters
		}
		_ = t.close(broken)
	}()
	if err := f(ctx, h); err != nil {
		if t.failed != nil && !errors.Is(err, t.failed) {
			err = errors.Join(err, t.failed) // the cause of what f has seen
		}
		return err
	}
	if err := t.commit(ctx, h); err != nil {
		return fmt.Errorf("database: commit: %w", err)
	}
	committed = true
	for _, hook := range t.onCommit {
		hook()
	}
	return nil
}
