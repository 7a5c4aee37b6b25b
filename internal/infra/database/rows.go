package database

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Column is a column of many rows, for [DB.Rows] and [DB.InsertRows].
type Column struct {
	Name string
	// Type is PostgreSQL's name of the type: text, bigint, bytea, timestamptz….
	Type string
	// Values is a []string, []int64, [][]byte or []time.Time.
	Values any
}

// Strings, Integers, ByteStrings and Times are columns of the usual types.
func Strings(name string, values []string) Column     { return Column{name, "text", values} }
func Integers(name string, values []int64) Column     { return Column{name, "bigint", values} }
func ByteStrings(name string, values [][]byte) Column { return Column{name, "bytea", values} }
func Times(name string, values []time.Time) Column    { return Column{name, "timestamptz", values} }

func (c Column) len() int {
	switch values := c.Values.(type) {
	case []string:
		return len(values)
	case []int64:
		return len(values)
	case [][]byte:
		return len(values)
	case []time.Time:
		return len(values)
	}
	panic(fmt.Sprintf("database: column %s: values of type %T", c.Name, c.Values))
}

func (c Column) value(i int) any {
	switch values := c.Values.(type) {
	case []string:
		return values[i]
	case []int64:
		return values[i]
	case [][]byte:
		return Bytes(values[i])
	case []time.Time:
		return values[i]
	}
	return nil
}

func (c Column) part(from, to int) Column {
	switch values := c.Values.(type) {
	case []string:
		c.Values = values[from:to]
	case []int64:
		c.Values = values[from:to]
	case [][]byte:
		c.Values = values[from:to]
	case []time.Time:
		c.Values = values[from:to]
	}
	return c
}

// Rows is a SELECT of the given rows and its arguments, which start at $first.
// On PostgreSQL its text is the same for one row, and for any number of more, so
// that it is prepared once for each.
func (db *DB) Rows(first int, columns ...Column) (query string, args []any) {
	rows := columns[0].len()
	if db.dialect == Postgres && rows == 1 { // no arrays to make and take apart
		fields := make([]string, len(columns))
		for i, c := range columns {
			fields[i] = fmt.Sprintf("$%d::%s AS %s", first+i, c.Type, c.Name)
			args = append(args, c.value(0))
		}
		return "SELECT " + strings.Join(fields, ", "), args
	}
	if db.dialect == Postgres {
		names, arrays := make([]string, len(columns)), make([]string, len(columns))
		for i, c := range columns {
			names[i] = c.Name
			arrays[i] = fmt.Sprintf("$%d::%s[]", first+i, c.Type)
			args = append(args, c.Values)
		}
		return "SELECT * FROM unnest(" + strings.Join(arrays, ", ") + ") AS r(" + strings.Join(names, ", ") + ")", args
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = fmt.Sprintf("column%d AS %s", i+1, c.Name)
	}
	for r := range rows {
		for _, c := range columns {
			args = append(args, c.value(r))
		}
	}
	// WHERE keeps an ON CONFLICT that follows from being read as a join's.
	return "SELECT " + strings.Join(names, ", ") + " FROM (VALUES " + values(first, rows, len(columns)) + ") WHERE true", args
}

// maxRows is how many rows SQLite gets with one statement: its time to parse one
// grows with the square of the parameters.
const maxRows = 64

// InsertRows writes many rows in as few statements as the database likes,
// without waiting for them (see [Queued]).
func (db *DB) InsertRows(ctx context.Context, tx Tx, table string, columns ...Column) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	into := "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") "
	rows, most := columns[0].len(), columns[0].len()
	if db.dialect == SQLite {
		most = maxRows
	}
	for from := 0; from < rows; from += most {
		part := make([]Column, len(columns))
		for i, c := range columns {
			part[i] = c.part(from, min(from+most, rows))
		}
		query, args := db.Rows(1, part...)
		if _, err := Queued(tx).ExecContext(ctx, into+query, args...); err != nil {
			return err
		}
	}
	return nil
}

// Values is the VALUES list of an INSERT of many rows: ($1,$2),($3,$4)…
func Values(rows, columns int) string { return values(1, rows, columns) }

func values(first, rows, columns int) string {
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
		b.WriteString(strconv.Itoa(first + i))
	}
	b.WriteByte(')')
	return b.String()
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
