package contract

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/envelope"
)

// Live says what this build can read of what is stored.
type Live struct {
	Tables []LiveTable `json:"tables"`
	Types  []LiveType  `json:"types"`
	// Unreadable are the rows that this build can't handle, at most as many as asked
	// for.
	Unreadable []LiveRow `json:"unreadable"`
}

// LiveTable says how much of a table was read.
type LiveTable struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
	Read int64  `json:"read"`
}

// LiveType counts the events of one version that were read.
type LiveType struct {
	// Type is empty for what has no readable header.
	Type       string `json:"type"`
	Version    int    `json:"version"`
	Readable   int64  `json:"readable"`
	Unreadable int64  `json:"unreadable"`
	// Foreign events are of types that the catalog doesn't have.
	Foreign int64 `json:"foreign"`
}

// LiveRow is an event that can't be read.
type LiveRow struct {
	Table   string `json:"table"`
	ID      string `json:"id"`
	Type    string `json:"type"`
	Version int    `json:"version"`
	Error   string `json:"error"`
}

// Failed counts the events that can't be read.
func (l Live) Failed() (n int64) {
	for _, t := range l.Types {
		n += t.Unreadable
	}
	return n
}

// CheckLive decodes what is stored in the tables, or about sample rows of each
// evenly spread, with the catalog of this build. A table that isn't there yet is
// empty. At most unreadable rows are returned one by one; all are counted.
func CheckLive(ctx context.Context, catalog *envelope.Catalog, sample, unreadable int, tables ...broker.Table) (Live, error) {
	l := live{catalog: catalog, most: unreadable, types: map[typeVersion]*LiveType{}}
	l.Unreadable = []LiveRow{}
	for _, t := range tables {
		if err := l.read(ctx, t, max(sample, 1)); err != nil {
			return l.Live, fmt.Errorf("contract: read %s: %w", t.Name, err)
		}
	}
	keys := slices.SortedFunc(maps.Keys(l.types), func(a, b typeVersion) int {
		return cmp.Or(cmp.Compare(a.eventType, b.eventType), cmp.Compare(a.version, b.version))
	})
	for _, key := range keys {
		l.Types = append(l.Types, *l.types[key])
	}
	return l.Live, nil
}

type typeVersion struct {
	eventType string
	version   int
}

type live struct {
	Live
	catalog *envelope.Catalog
	most    int
	types   map[typeVersion]*LiveType
}

func (l *live) read(ctx context.Context, t broker.Table, sample int) error {
	counts := LiveTable{Name: t.Name}
	var err error
	counts.Rows, err = t.Sample(ctx, sample, func(id string, m *message.Message, err error) {
		counts.Read++
		l.decode(t, id, m, err)
	})
	l.Tables = append(l.Tables, counts)
	return err
}

// decode does what a consumer does before its handler is called.
func (l *live) decode(t broker.Table, id string, m *message.Message, err error) {
	var event envelope.Envelope
	if err == nil {
		event, err = envelope.FromMessage(m)
	}
	if err == nil && !l.catalog.Skips(event) {
		_, err = l.catalog.Decode(event)
	}
	key := typeVersion{event.Type, event.SchemaVersion}
	if l.types[key] == nil {
		l.types[key] = &LiveType{Type: event.Type, Version: event.SchemaVersion}
	}
	counts := l.types[key]
	switch {
	case err == nil:
		counts.Readable++
	case !t.Own && errors.Is(err, envelope.ErrUnknownType):
		counts.Foreign++
	default:
		counts.Unreadable++
		if len(l.Unreadable) < l.most {
			l.Unreadable = append(l.Unreadable, LiveRow{Table: t.Name, ID: id, Type: event.Type, Version: event.SchemaVersion, Error: err.Error()})
		}
	}
}
