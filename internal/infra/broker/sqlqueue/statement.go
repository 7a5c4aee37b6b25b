package sqlqueue

import (
	"context"

	"example.com/millwright/internal/infra/database"
)

// write runs one statement that writes and returns rows, as a transaction of its
// own: on PostgreSQL that is one round trip, and a process that is stopped at any
// moment keeps nothing locked. row may get the rows of an attempt that was undone
// first.
func (b *Broker) write(ctx context.Context, row func(scan func(...any) error) error, query string, args ...any) error {
	if b.db.Dialect() != database.Postgres {
		return b.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error { return database.Read(ctx, tx, row, query, args...) })
	}
	return b.query(ctx, row, query, args...)
}

func (b *Broker) query(ctx context.Context, row func(scan func(...any) error) error, query string, args ...any) error {
	return database.Read(ctx, b.db, row, query, args...)
}

// clock is the database's clock, which all processes share, and a lease of $1
// microseconds that can be added to it. The lease begins when the row is written,
// however long the statement has waited for it.
func (b *Broker) clock() (now, lease string) {
	if b.db.Dialect() == database.Postgres {
		return `clock_timestamp()`, `$1::bigint * interval '1 microsecond'`
	}
	return `CAST(unixepoch('subsec') * 1000000 AS integer)`, `$1`
}

// poke wakes whoever receives from c, unless it is about to wake anyway.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
