// Package database opens the service's database and runs its transactions.
//
// Two databases are supported through database/sql: PostgreSQL (pgx) for
// production and SQLite (modernc.org/sqlite, no cgo) for a laptop or a single
// small process. One SQL text serves both wherever they agree: both take $1
// parameters and ON CONFLICT … RETURNING. Where they don't, [DB.Dialect] says
// which one it is.
//
// On PostgreSQL all methods share one pool. On SQLite there is one writing
// connection, whose transactions begin IMMEDIATE, and a pool of read-only
// ones; WAL keeps readers and the writer out of each other's way. A statement
// that writes therefore goes through [DB.InTx] or [DB.ExecContext], never
// through [DB.QueryContext].
//
// Times are stored with microseconds: timestamptz in PostgreSQL, an integer of
// microseconds since 1970 in SQLite. Pass time.Time, scan with [Time].
package database
