package database

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // registers the "pgx" driver
	_ "modernc.org/sqlite"             // registers the "sqlite" driver
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
	write   *sql.DB
	read    *sql.DB // the same as write on PostgreSQL
	where   string  // for people: no password in it
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
	pool, err := sql.Open("pgx", config.URL)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(config.MaxConns)
	pool.SetMaxIdleConns(config.MaxConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return &DB{dialect: Postgres, write: pool, read: pool, where: Redact(config.URL)}, nil
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
	return &DB{dialect: SQLite, write: write, read: read, where: file}, nil
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
	attempt := func() (struct{}, error) {
		err := db.inTx(ctx, f)
		if err != nil && !IsConflict(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 5*time.Millisecond, 200*time.Millisecond
	_, err := backoff.Retry(ctx, attempt, backoff.WithBackOff(pause), backoff.WithMaxTries(maxTries))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		return permanent.Unwrap()
	}
	return err
}

func (db *DB) inTx(ctx context.Context, f func(ctx context.Context, tx Tx) error) error {
	sqlTx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("database: begin: %w", err)
	}
	committed := false
	defer func() {
		if !committed {
			_ = sqlTx.Rollback() // the first error matters; a failed rollback ends the connection
		}
	}()
	own := &tx{Tx: sqlTx}
	if err := f(ctx, own); err != nil {
		return err
	}
	if err := sqlTx.Commit(); err != nil {
		return fmt.Errorf("database: commit: %w", err)
	}
	committed = true
	for _, hook := range own.onCommit {
		hook()
	}
	return nil
}

// Values is the VALUES list of an INSERT of many rows: ($1,$2),($3,$4)…
func Values(rows, columns int) string {
	var b strings.Builder
	b.Grow(rows * columns * 6)
	for i := range rows * columns {
		switch {
		case i == 0:
			b.WriteByte('(')
		case i%columns == 0:
			b.WriteString("),(")
		default:
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i + 1))
	}
	b.WriteByte(')')
	return b.String()
}

// maxInsert is how many rows Insert writes with one statement. SQLite's time to
// parse one grows with the square of its parameters.
const maxInsert = 64

// Insert writes many rows: insert is "INSERT INTO t (a, b)", values holds the
// columns of all rows one after another. Few different statements are used, so
// that the driver's cache of prepared ones serves them.
func Insert(ctx context.Context, tx Tx, insert string, columns int, values []any) error {
	for n := maxInsert; len(values) > 0; {
		for n*columns > len(values) {
			n /= 2
		}
		if _, err := tx.ExecContext(ctx, insert+" VALUES "+Values(n, columns), values[:n*columns]...); err != nil {
			return err
		}
		values = values[n*columns:]
	}
	return nil
}

// AnyOf is the condition that an integer column has one of the values, and the
// one parameter, number param, that it takes.
func (db *DB) AnyOf(column string, param int, values []int64) (condition string, arg any) {
	if db.dialect == Postgres {
		return fmt.Sprintf("%s = ANY($%d)", column, param), values
	}
	list, _ := json.Marshal(values) // integers always marshal
	return fmt.Sprintf("%s IN (SELECT value FROM json_each($%d))", column, param), string(list)
}

// Bytes is b as a parameter for a column that is NOT NULL: empty, never NULL.
func Bytes(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
