package database

import (
	"context"
	"fmt"
	"time"
)

// Time scans a timestamp of either database, also where SQLite has forgotten
// the column's type (aggregates, RETURNING). NULL becomes the zero time. The
// result is in UTC.
type Time struct{ time.Time }

// Scan implements sql.Scanner.
func (t *Time) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		t.Time = time.Time{}
	case time.Time:
		t.Time = v.UTC()
	case int64:
		t.Time = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("database: cannot scan %T into a time", src)
	}
	return nil
}

// Pointer returns nil for the zero time, as an optional JSON field wants it.
func (t Time) Pointer() *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t.Time
}

// Now returns the database's clock, which all processes on a database share:
// leases are compared with it and no other.
func (db *DB) Now(ctx context.Context, tx Tx) (time.Time, error) {
	if db.dialect == SQLite {
		return time.Now().UTC(), nil
	}
	var now Time
	if err := tx.QueryRowContext(ctx, `SELECT now()`).Scan(&now); err != nil {
		return time.Time{}, fmt.Errorf("database: read clock: %w", err)
	}
	return now.Time, nil
}
