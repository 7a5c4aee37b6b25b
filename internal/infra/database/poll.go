package database

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
)

// Poll runs f, which looks for something every few seconds. f's statements use a
// pooled connection as it is, without asking first whether it is still alive: an
// idle service would ask each time, and so send twice as much. If f finds that it
// is not, f is run again, on a connection that was asked: f must be free of
// effects that happen twice.
func (db *DB) Poll(ctx context.Context, f func(ctx context.Context) error) error {
	err := f(context.WithValue(ctx, unasked{}, true))
	if err != nil && ctx.Err() == nil && IsUnavailable(err) {
		err = f(ctx)
	}
	return err
}

// unasked marks the contexts of statements that use a connection as it is.
type unasked struct{}

// restful is how long a connection may rest and be taken for alive all the same.
const restful = time.Second

func shouldPing(ctx context.Context, conn stdlib.ShouldPingParams) bool {
	return conn.IdleDuration > restful && ctx.Value(unasked{}) == nil
}
