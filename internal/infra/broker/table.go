package broker

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/database"
)

// Table is a table of messages, in whatever columns. Besides those named here it
// has metadata and payload.
type Table struct {
	DB   *database.DB
	Name string
	// ID is an expression for what tells a row from others, for people.
	ID string
	// Number is an expression for a number that is spread evenly over the rows.
	Number string
	// MessageID is the column of the message's id.
	MessageID string
	// Where is a condition that rows must meet; may be empty.
	Where string
	// Own says that the messages are this service's own; otherwise others may store
	// theirs there.
	Own bool
}

// Sample calls each with the messages of about n rows, evenly spread, or of all if
// there are no more. err is set if the metadata can't be read. It returns how many
// rows there are; a table that doesn't exist has none.
func (t Table) Sample(ctx context.Context, n int, each func(id string, m *message.Message, err error)) (rows int64, err error) {
	exists, err := t.DB.HasTable(ctx, t.Name)
	if err != nil || !exists {
		return 0, err
	}
	where := ""
	if t.Where != "" {
		where = ` AND ` + t.Where
	}
	if err := t.DB.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+t.Name+` WHERE true`+where).Scan(&rows); err != nil {
		return 0, fmt.Errorf("count %s: %w", t.Name, err)
	}
	n = max(n, 1)
	stride := max(1, (rows+int64(n)-1)/int64(n))
	err = database.Read(ctx, t.DB, func(scan func(...any) error) error {
		var id, messageID, metadata string
		var payload []byte
		if err := scan(&id, &messageID, &metadata, &payload); err != nil {
			return err
		}
		m := message.NewMessage(messageID, payload)
		each(id, m, json.Unmarshal([]byte(metadata), &m.Metadata))
		return nil
	}, `SELECT `+t.ID+`, `+t.MessageID+`, metadata, payload FROM `+t.Name+` WHERE `+t.Number+` % $1 = 0`+where+` ORDER BY `+t.Number, stride)
	if err != nil {
		return rows, fmt.Errorf("read %s: %w", t.Name, err)
	}
	return rows, nil
}
