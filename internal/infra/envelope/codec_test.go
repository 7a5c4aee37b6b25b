package envelope_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/millwright/internal/infra/envelope"
)

// wire is a good structured envelope with one attribute replaced, or left out
// where value is "".
func wire(name, value string) *message.Message {
	attributes := map[string]json.RawMessage{}
	const good = `{"specversion":"1.0","id":"e1","source":"/shop","type":"orders.placed","schemaversion":2,"data":{"n":1}}`
	if err := json.Unmarshal([]byte(good), &attributes); err != nil {
		panic(err)
	}
	attributes[name] = json.RawMessage(value)
	if value == "" {
		delete(attributes, name)
	}
	payload, err := json.Marshal(attributes)
	if err != nil {
		panic(err)
	}
	return message.NewMessage("m1", payload)
}

func TestWhatIsWrongWithAnEnvelope(t *testing.T) {
	t.Parallel()
	raw := func(payload string) *message.Message { return message.NewMessage("m1", []byte(payload)) }
	for _, test := range []struct {
		m    *message.Message
		kind error
		text string
	}{
		{raw(""), envelope.ErrMalformed, `envelope: malformed envelope: the message is empty`},
		{raw(" \n"), envelope.ErrMalformed, `envelope: malformed envelope: the message is empty`},
		{raw("hello"), envelope.ErrMalformed, `envelope: malformed envelope: not a JSON object: invalid character 'h' looking for beginning of value`},
		{raw(`{"id":`), envelope.ErrMalformed, `envelope: malformed envelope: not a JSON object: unexpected end of JSON input`},
		{raw(`{} {}`), envelope.ErrMalformed, `envelope: malformed envelope: not a JSON object: invalid character '{' after top-level value`},
		{raw(`[]`), envelope.ErrMalformed, `envelope: malformed envelope: not a JSON object: json: cannot unmarshal array into Go value of type map[string]json.RawMessage`},
		{raw(`null`), envelope.ErrMissingAttribute, `envelope: missing attribute: "specversion" is required: is this a CloudEvent?`},
		{raw(`{"order_id":"1"}`), envelope.ErrMissingAttribute, `envelope: missing attribute: "specversion" is required: is this a CloudEvent?`},
		{wire("specversion", ""), envelope.ErrMissingAttribute, `envelope: missing attribute: "specversion" is required: is this a CloudEvent? (orders.placed v2, id "e1")`},
		{wire("specversion", `"0.3"`), envelope.ErrMalformed, `envelope: malformed envelope: "specversion" is "0.3", want "1.0" (orders.placed v2, id "e1")`},
		{wire("id", ""), envelope.ErrMissingAttribute, `envelope: missing attribute: "id" is required (orders.placed v2)`},
		{wire("id", `""`), envelope.ErrMissingAttribute, `envelope: missing attribute: "id" is required (orders.placed v2)`},
		{wire("id", `null`), envelope.ErrMissingAttribute, `envelope: missing attribute: "id" is required (orders.placed v2)`},
		{wire("id", `7`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "id" is 7, want a string (orders.placed)`},
		{wire("id", `"a\u0000b"`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "id" contains the control character '\x00' (orders.placed)`},
		{wire("source", ""), envelope.ErrMissingAttribute, `envelope: missing attribute: "source" is required (orders.placed v2, id "e1")`},
		{wire("type", ""), envelope.ErrMissingAttribute, `envelope: missing attribute: "type" is required (v2, id "e1")`},
		{wire("type", `{"a":"0123456789012345678901234567890123456789"}`), envelope.ErrMalformed,
			`envelope: malformed envelope: attribute "type" is {"a":"0123456789012345678901234567890123…, want a string`},
		{wire("schemaversion", ""), envelope.ErrMissingAttribute, `envelope: missing attribute: "schemaversion" is required: the version of the payload's schema, from 1 (orders.placed, id "e1")`},
		{wire("schemaversion", `null`), envelope.ErrMissingAttribute, `envelope: missing attribute: "schemaversion" is required: the version of the payload's schema, from 1 (orders.placed, id "e1")`},
		{wire("schemaversion", `"two"`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "schemaversion" is "two", want an integer (orders.placed, id "e1")`},
		{wire("schemaversion", `1.5`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "schemaversion" is 1.5, want an integer (orders.placed, id "e1")`},
		{wire("schemaversion", `99999999999`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "schemaversion" is 99999999999, want an integer (orders.placed, id "e1")`},
		{wire("schemaversion", `-1`), envelope.ErrMalformed, `envelope: malformed envelope: "schemaversion" is -1, want 1 or more (orders.placed v-1, id "e1")`},
		{wire("time", `"yesterday"`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "time" is "yesterday", want an RFC 3339 time such as 2006-01-02T15:04:05Z (orders.placed v2, id "e1")`},
		{wire("time", `"9999-12-31T23:59:59-01:00"`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "time" is "9999-12-31T23:59:59-01:00", want an RFC 3339 time such as 2006-01-02T15:04:05Z (orders.placed v2, id "e1")`},
		{wire("depth", `true`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "depth" is true, want an integer (orders.placed v2, id "e1")`},
		{wire("depth", `-1`), envelope.ErrMalformed, `envelope: malformed envelope: "depth" is -1, want 0 or more (orders.placed v2, id "e1")`},
		{wire("depth", `17`), envelope.ErrTooDeep, `envelope: chain of events too deep: depth 17, at most 16: do two handlers answer each other? (orders.placed v2, id "e1")`},
		{wire("datacontenttype", `"text/xml"`), envelope.ErrMalformed, `envelope: malformed envelope: "datacontenttype" is "text/xml", want JSON (orders.placed v2, id "e1")`},
		{wire("data_base64", `"%"`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "data_base64" is not base64 (orders.placed v2, id "e1")`},
	} {
		_, err := envelope.FromMessage(test.m)
		require.EqualError(t, err, test.text)
		require.ErrorIs(t, err, test.kind)
		var typed *envelope.Error
		require.ErrorAs(t, err, &typed)
		require.True(t, typed.Permanent())
	}
}

func TestNullAttributesAreAbsent(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"subject", "time", "datacontenttype", "dataschema", "partitionkey", "correlationid", "causationid", "depth", "traceparent", "data_base64", "someextension"} {
		want, err := envelope.FromMessage(wire(name, ""))
		require.NoError(t, err)
		got, err := envelope.FromMessage(wire(name, "null"))
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
}

func TestUnknownExtensionsSurvive(t *testing.T) {
	t.Parallel()
	for _, value := range []string{`"blue"`, `7`, `true`, `""`} {
		e, err := envelope.FromMessage(wire("comexampletenant", value))
		require.NoError(t, err)
		m, err := e.Message()
		require.NoError(t, err)
		again, err := envelope.FromMessage(m)
		require.NoError(t, err)
		require.JSONEq(t, value, string(again.Extensions["comexampletenant"]))
		require.Equal(t, e, again)
	}
}

func TestDataBase64(t *testing.T) {
	t.Parallel()
	e, err := envelope.FromMessage(wire("data_base64", `"eyJuIjoyfQ=="`))
	require.NoError(t, err)
	require.Equal(t, `{"n":2}`, string(e.Data))
}

func TestBinaryMode(t *testing.T) {
	t.Parallel()
	want := envelope.Envelope{
		Header: envelope.Header{
			ID: "e1", Source: "/shop", Type: "orders.placed", Subject: "50% off", Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
			SchemaVersion: 2, Depth: 3, PartitionKey: "k", DataContentType: "application/json",
			Extensions: map[string]json.RawMessage{"tenant": json.RawMessage(`"blue"`)},
		},
		Data: json.RawMessage(`{"n":1}`),
	}
	for name, test := range map[string]struct{ prefix, subject, contentType string }{
		"kafka": {"ce_", "50% off", "content-type"},
		"nats":  {"ce-", "50%25%20off", "content-type"},
		"http":  {"Ce-", "50%25%20off", "Content-Type"},
	} {
		m := message.NewMessage("m1", []byte(`{"n":1}`))
		m.Metadata = message.Metadata{
			test.contentType: "application/json", "unrelated": "header",
			test.prefix + "specversion": "1.0", test.prefix + "id": "e1", test.prefix + "source": "/shop", test.prefix + "type": "orders.placed",
			test.prefix + "subject": test.subject, test.prefix + "time": "2026-03-01T13:00:00+01:00", test.prefix + "schemaversion": "2",
			test.prefix + "depth": "3", test.prefix + "partitionkey": "k", test.prefix + "tenant": "blue",
		}
		got, err := envelope.FromMessage(m)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
}

func TestBinaryModeErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, text string }{
		{"ce_id", "", `envelope: missing attribute: "id" is required (orders.placed v2)`},
		{"ce_schemaversion", "two", `envelope: malformed envelope: attribute "schemaversion" is "two", want an integer (orders.placed, id "e1")`},
		{"content-type", "application/avro", `envelope: malformed envelope: "datacontenttype" is "application/avro", want JSON (orders.placed v2, id "e1")`},
		{"content-type", "application/cloudevents+json", `envelope: missing attribute: "specversion" is required: is this a CloudEvent?`},
	} {
		m := message.NewMessage("m1", []byte(`{"n":1}`))
		m.Metadata = message.Metadata{"ce_specversion": "1.0", "ce_id": "e1", "ce_source": "/shop", "ce_type": "orders.placed", "ce_schemaversion": "2"}
		m.Metadata[test.name] = test.value
		_, err := envelope.FromMessage(m)
		require.EqualError(t, err, test.text)
	}
}

func TestMessageThatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	e := envelope.Envelope{Header: envelope.Header{ID: "e1", Type: "orders.placed", SchemaVersion: 2}, Data: json.RawMessage("{")}
	_, err := e.Message()
	require.ErrorIs(t, err, envelope.ErrPayload)
	require.ErrorContains(t, err, "envelope: malformed payload: can't be encoded: ")
}

// What was written is read again, whatever it contains.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune(`aZ0 "\/<&>é世🙂%`)))
		some := rapid.StringMatching(`[a-z"<é]{1,20}`)
		e := envelope.Envelope{
			Header: envelope.Header{
				ID: some.Draw(t, "id"), Source: some.Draw(t, "source"), Type: some.Draw(t, "type"), Subject: text.Draw(t, "subject"),
				DataSchema: text.Draw(t, "dataschema"), PartitionKey: text.Draw(t, "key"), CorrelationID: text.Draw(t, "correlation"),
				CausationID: text.Draw(t, "causation"), TraceParent: text.Draw(t, "trace"),
				DataContentType: rapid.SampledFrom([]string{"", "application/json", "application/json; charset=utf-8", "application/vnd.x+json"}).Draw(t, "media"),
				Time:            time.UnixMicro(rapid.Int64Range(-1e15, 1e17).Draw(t, "time")).UTC(),
				SchemaVersion:   rapid.IntRange(1, 1<<31-1).Draw(t, "version"), Depth: rapid.IntRange(0, envelope.MaxDepth).Draw(t, "depth"),
			},
		}
		data, err := json.Marshal(rapid.MapOf(text, rapid.Int64()).Draw(t, "data"))
		require.NoError(t, err)
		e.Data = data
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`x[a-z0-9]{1,10}`), 0, 3, rapid.ID).Draw(t, "extensions") {
			if e.Extensions == nil {
				e.Extensions = map[string]json.RawMessage{}
			}
			e.Extensions[name] = json.RawMessage(fmt.Sprint(rapid.Int32().Draw(t, "value")))
		}
		m, err := e.Message()
		require.NoError(t, err)
		require.Equal(t, e.ID, m.UUID)
		require.Equal(t, e.PartitionKey, m.Metadata.Get("partitionkey"))
		got, err := envelope.FromMessage(m)
		require.NoError(t, err)
		require.Equal(t, e, got)
	})
}

// FromMessage must not panic, and what it accepts can be written and read again.
func FuzzFromMessage(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"e1","source":"s","type":"t","schemaversion":1,"data":{}}`), "content-type", "application/cloudevents+json", "")
	f.Add([]byte(`{"n":1}`), "ce_specversion", "1.0", "7")
	f.Add([]byte(`null`), "ce-", "", "null")
	f.Add([]byte(`{"specversion":"1.0","id":"e1","source":"s","type":"t","schemaversion":"1","time":"0000-01-01T00:00:00+23:59","x":[],"data_base64":"AA=="}`), "ce_id", "1", "")
	f.Fuzz(func(t *testing.T, payload []byte, key, value, id string) {
		m := message.NewMessage("m1", payload)
		m.Metadata = message.Metadata{key: value, "ce_id": id, "ce_source": "s", "ce_type": "t", "ce_schemaversion": "1"}
		e, err := envelope.FromMessage(m)
		if err != nil {
			var typed *envelope.Error
			require.ErrorAs(t, err, &typed)
			return
		}
		again, err := e.Message()
		if err != nil {
			require.False(t, json.Valid(e.Data), "only data that isn't JSON can't be written: %v", err)
			return
		}
		got, err := envelope.FromMessage(again)
		require.NoError(t, err)
		require.Equal(t, e.ID, got.ID)
		require.Equal(t, e.Time, got.Time)
		require.Len(t, got.Extensions, len(e.Extensions))
	})
}
