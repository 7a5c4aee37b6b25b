package envelope_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope"
)

// requireError requires an error of the package's own that a database can store.
func requireError(t *testing.T, err error) {
	t.Helper()
	var typed *envelope.Error
	require.ErrorAs(t, err, &typed)
	require.True(t, typed.Permanent())
	require.True(t, utf8.ValidString(err.Error()), "%q", err)
	require.NotContains(t, err.Error(), "\x00")
}

// requireKept requires that what was accepted is the same after it was passed on.
func requireKept(t *testing.T, e envelope.Envelope) {
	t.Helper()
	m, err := e.Message()
	if err != nil {
		requireError(t, err)
		require.ErrorIs(t, err, envelope.ErrPayload)
		inEnvelope := slices.Concat([]byte(`{"data":`), e.Data, []byte(`}`))
		require.False(t, json.Valid(inEnvelope) && utf8.Valid(e.Data), "only data that isn't JSON can't be passed on: %v", err)
		return
	}
	require.True(t, json.Valid(m.Payload))
	got, err := envelope.FromMessage(m)
	require.NoError(t, err)
	require.Equal(t, e.Header, got.Header)
	require.Equal(t, value(e.Data), value(got.Data))
}

// value is a JSON value without what is around it; null counts as none.
func value(data []byte) string {
	if data = bytes.Trim(data, " \t\r\n"); string(data) == "null" {
		return ""
	}
	return string(data)
}

func FuzzStructured(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"e1","source":"s","type":"t","schemaversion":1,"data":{}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		m := message.NewMessage("m1", payload)
		m.Metadata.Set("content-type", envelope.MediaType)
		e, err := envelope.FromMessage(m)
		if err != nil {
			requireError(t, err)
			return
		}
		require.True(t, json.Valid(payload))
		requireKept(t, e)
	})
}

// The headers are given as lines of name:value.
func FuzzBinary(f *testing.F) {
	f.Add("ce_specversion:1.0\nce_id:e1\nce_source:s\nce_type:t\nce_schemaversion:1\ncontent-type:application/json", []byte(`{}`))
	f.Fuzz(func(t *testing.T, headers string, payload []byte) {
		m := message.NewMessage("m1", payload)
		for line := range strings.SplitSeq(headers, "\n") {
			name, value, _ := strings.Cut(line, ":")
			m.Metadata.Set(name, value)
		}
		e, err := envelope.FromMessage(m)
		again, errAgain := envelope.FromMessage(m)
		if err != nil {
			requireError(t, err)
			require.EqualError(t, errAgain, err.Error(), "the order of the headers must not matter")
			return
		}
		require.Equal(t, e, again)
		requireKept(t, e)
	})
}

func FuzzUpcast(f *testing.F) {
	catalog, err := envelope.NewCatalog(greetedType, partedType)
	require.NoError(f, err)
	f.Add("people.greeted", 1, []byte(`{"name":"Ada"}`))
	f.Add("people.greeted", 2, []byte(`{"names":["Ada"]}`))
	f.Add("people.greeted", 3, []byte(`{"names":["Ada"],"count":1}`))
	f.Add("people.greeted", 4, []byte(`{}`))
	f.Add("people.hugged", 1, []byte(`{}`))
	f.Fuzz(func(t *testing.T, eventType string, version int, data []byte) {
		if strings.ContainsFunc(eventType, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }) {
			t.Skip("FromMessage lets no such type through")
		}
		e := envelope.Envelope{Header: envelope.Header{ID: "e1", Type: eventType, SchemaVersion: version}, Data: data}
		payload, err := catalog.Decode(e)
		if err != nil {
			requireError(t, err)
			return
		}
		require.True(t, json.Valid(data) && utf8.Valid(data))
		if eventType == partedType.Name {
			require.IsType(t, parted{}, payload)
			return
		}
		require.IsType(t, greeted{}, payload)
		// As an event of the current version it is the same.
		e.SchemaVersion = greetedType.Version
		e.Data, err = json.Marshal(payload)
		require.NoError(t, err)
		got, err := catalog.Decode(e)
		require.NoError(t, err)
		require.Equal(t, payload, got)
	})
}
