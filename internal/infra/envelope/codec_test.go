package envelope_test

import (
	"encoding/json"
	"fmt"
	"strings"
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
	if name == "data_base64" {
		delete(attributes, "data") // they exclude each other
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
		{wire("time", `"2026-01-01"`), envelope.ErrMalformed, `envelope: malformed envelope: attribute "time" is "2026-01-01", want an RFC 3339 time such as 2006-01-02T15:04:05Z (orders.placed v2, id "e1")`},
		{raw("{\"id\":\"\xff\"}"), envelope.ErrMalformed, `envelope: malformed envelope: not a JSON object: it is not UTF-8`},
		{raw(`{"specversion":"1.0","id":"e1","data":1,"data_base64":"MQ=="}`), envelope.ErrMalformed, `envelope: malformed envelope: "data" and "data_base64" exclude each other (id "e1")`},
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
		{"content-type", "application/cloudevents-batch+json", `envelope: malformed envelope: "content-type" is "application/cloudevents-batch+json", want "application/cloudevents+json"`},
		{"ce-id", "e2", `envelope: malformed envelope: attribute "id" has two headers that differ (orders.placed v2, id "e2")`},
		{"ce_data", "{}", `envelope: malformed envelope: "data" can't be a header: the payload is the data (orders.placed v2, id "e1")`},
		{"ce-subject", "%ff", `envelope: malformed envelope: attribute "subject" is "\xff": it is not UTF-8 (orders.placed v2, id "e1")`},
		{"ce-subject", "%00", `envelope: malformed envelope: attribute "subject" contains the control character '\x00' (orders.placed, id "e1")`},
	} {
		m := message.NewMessage("m1", []byte(`{"n":1}`))
		m.Metadata = message.Metadata{"ce_specversion": "1.0", "ce_id": "e1", "ce_source": "/shop", "ce_type": "orders.placed", "ce_schemaversion": "2"}
		m.Metadata[test.name] = test.value
		_, err := envelope.FromMessage(m)
		require.EqualError(t, err, test.text)
	}
}

// The value of a header in the bindings of HTTP and NATS: percent-encoded, or
// quoted by older versions of them. Kafka's is as it is.
func TestHeaderValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, want string }{
		{"ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"},
		{"Ce-Subject", "100%25", "100%"},
		{"ce-subject", "50% off", "50% off"},
		{"ce-subject", `"a \"b\" %25"`, `a "b" %`},
		{"ce_subject", "Euro%20%E2%82%AC", "Euro%20%E2%82%AC"},
		{"ce_subject", `"€"`, `"€"`},
		{"ce_subject", "null", "null"},
	} {
		m := message.NewMessage("m1", nil)
		m.Metadata = message.Metadata{"ce_specversion": "1.0", "ce_id": "e1", "ce_source": "/shop", "ce_type": "orders.placed", "ce_schemaversion": "2"}
		m.Metadata[test.name] = test.value
		e, err := envelope.FromMessage(m)
		require.NoError(t, err)
		require.Equal(t, test.want, e.Subject, test.name+": "+test.value)
	}
}

// NATS has the payload's media type in an attribute like any other.
func TestContentTypeInNATS(t *testing.T) {
	t.Parallel()
	m := message.NewMessage("m1", nil)
	m.Metadata = message.Metadata{"ce-specversion": "1.0", "ce-id": "e1", "ce-source": "/shop", "ce-type": "orders.placed", "ce-schemaversion": "2",
		"ce-datacontenttype": "application/vnd.shop+json", "Content-Type": "text/plain"}
	e, err := envelope.FromMessage(m)
	require.NoError(t, err)
	require.Equal(t, "application/vnd.shop+json", e.DataContentType)
}

// What could not be read again is not written.
func TestMessageThatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	for text, spoil := range map[string]func(*envelope.Envelope){
		`"data": unexpected end of JSON input`: func(e *envelope.Envelope) { e.Data = json.RawMessage("{") },
		`"data": it is not UTF-8`:              func(e *envelope.Envelope) { e.Data = json.RawMessage("\"\xff\"") },
		`"data": arrays and objects are nested more than 9999 deep`: func(e *envelope.Envelope) {
			e.Data = json.RawMessage(strings.Repeat("[", 10000) + strings.Repeat("]", 10000))
		},
		`"tenant": invalid character 'b' looking for beginning of value`: func(e *envelope.Envelope) {
			e.Extensions = map[string]json.RawMessage{"tenant": json.RawMessage("blue")}
		},
		`the extension "id" is an attribute of the header`: func(e *envelope.Envelope) {
			e.Extensions = map[string]json.RawMessage{"id": json.RawMessage(`"e2"`)}
		},
		`attribute "partitionkey" contains the control character '\n'`: func(e *envelope.Envelope) { e.PartitionKey = "a\nb" },
		`attribute "subject" is "\xff": it is not UTF-8`:               func(e *envelope.Envelope) { e.Subject = "\xff" },
		`attribute "time" is 10000-01-01 00:00:00 +0000 UTC: RFC 3339 has the years 0 to 9999`: func(e *envelope.Envelope) {
			e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
		},
	} {
		e := envelope.Envelope{Header: envelope.Header{ID: "e1", Type: "orders.placed", SchemaVersion: 2}, Data: json.RawMessage("{}")}
		spoil(&e)
		_, err := e.Message()
		require.ErrorIs(t, err, envelope.ErrPayload)
		require.EqualError(t, err, `envelope: malformed payload: can't be encoded: `+text+` (orders.placed v2, id "e1")`)
	}
}

// The payload and extensions of others are passed on as they came.
func TestValuesAreKeptByteForByte(t *testing.T) {
	t.Parallel()
	const odd = `{ "html" : "<&>" , "n" : 1.50e+02 , "s" : "\u00e9\ud83d" }`
	e, err := envelope.FromMessage(wire("tenant", odd))
	require.NoError(t, err)
	e.Data = json.RawMessage(odd)
	m, err := e.Message()
	require.NoError(t, err)
	again, err := envelope.FromMessage(m)
	require.NoError(t, err)
	require.Equal(t, odd, string(again.Data))
	require.JSONEq(t, odd, string(again.Extensions["tenant"])) // wire has compacted it
	require.Equal(t, e.Extensions, again.Extensions)
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
				CausationID: text.Draw(t, "causation"), TraceParent: text.Draw(t, "trace"), FallbackVersion: rapid.IntRange(0, 9).Draw(t, "fallback"),
				DataContentType: rapid.SampledFrom([]string{"", "application/json", "application/json; charset=utf-8", "application/vnd.x+json", "text/json"}).Draw(t, "media"),
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
