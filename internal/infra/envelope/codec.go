package envelope

import (
	"bytes"
	"encoding/json"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Media types of CloudEvents' structured mode and of a payload.
const (
	MediaType     = "application/cloudevents+json"
	jsonMediaType = "application/json"
)

// contentType is the metadata key of the message's media type. Brokers carry it
// as they carry every other key.
const contentType = "content-type"

// Message encodes the envelope as a message in structured mode: the envelope is
// the payload, the event's id the message's UUID.
func (e Envelope) Message() (*message.Message, error) {
	payload, err := e.MarshalJSON() // not json.Marshal, which would go over it once more
	if err != nil {
		return nil, e.fail(ErrPayload, err, "can't be encoded")
	}
	m := message.NewMessage(e.ID, payload)
	m.Metadata.Set(contentType, MediaType)
	m.Metadata.Set(attrPartitionKey, e.PartitionKey)
	return m, nil
}

// FromMessage reads the envelope of a received message, in structured or binary
// mode, and checks its header. The payload is not decoded. The message stays as
// it is. With an error, which is an *Error, comes what could be read of the
// header until then.
func FromMessage(m *message.Message) (Envelope, error) {
	var e Envelope
	var err error
	if isBinary(m) {
		e, err = fromBinary(m)
	} else {
		e, err = fromStructured(m.Payload)
	}
	if err != nil {
		return e, err
	}
	return e, e.validate()
}

// isBinary looks for the attribute that every CloudEvent has among the
// message's headers. A payload that says it is structured wins.
func isBinary(m *message.Message) bool {
	said := messageContentType(m)
	if said == MediaType {
		return false
	}
	if media, _, err := mime.ParseMediaType(said); err == nil && media == MediaType {
		return false
	}
	for key := range m.Metadata {
		if name, ok := binaryAttribute(key); ok && name == attrSpecVersion {
			return true
		}
	}
	return false
}

// messageContentType looks for the header in any case: HTTP and NATS clients
// write Content-Type.
func messageContentType(m *message.Message) string {
	if media := m.Metadata.Get(contentType); media != "" {
		return media
	}
	for key, value := range m.Metadata {
		if strings.EqualFold(key, contentType) {
			return value
		}
	}
	return ""
}

// binaryAttribute strips the prefix that the protocol bindings give to
// attributes: ce_ in Kafka, ce- in HTTP and NATS.
func binaryAttribute(key string) (string, bool) {
	if len(key) > 3 && strings.EqualFold(key[:2], "ce") && (key[2] == '_' || key[2] == '-') {
		return strings.ToLower(key[3:]), true
	}
	return "", false
}

func fromBinary(m *message.Message) (Envelope, error) {
	var attributes []attribute
	add := func(name, value string) {
		encoded, _ := json.Marshal(value) // a string always marshals
		attributes = append(attributes, attribute{name, encoded})
	}
	for key, value := range m.Metadata {
		if name, ok := binaryAttribute(key); ok {
			if unescaped, err := url.PathUnescape(value); err == nil && key[2] == '-' {
				value = unescaped // the HTTP and NATS bindings percent-encode
			}
			add(name, value)
		}
	}
	if media := messageContentType(m); media != "" {
		add(attrDataContentType, media)
	}
	var e Envelope
	if err := e.setAttributes(attributes); err != nil {
		return e, err
	}
	e.Data = json.RawMessage(m.Payload)
	return e, nil
}

func fromStructured(payload []byte) (Envelope, error) {
	var e Envelope
	if len(bytes.TrimSpace(payload)) == 0 {
		return e, e.fail(ErrMalformed, nil, "the message is empty")
	}
	err := e.UnmarshalJSON(payload) // not json.Unmarshal, whose syntax errors are not ours
	return e, err
}

// CloudEvents' attribute names, and this project's extensions: lower-case
// letters and digits, at most 20 of them, as the specification asks.
const (
	attrSpecVersion     = "specversion"
	attrID              = "id"
	attrSource          = "source"
	attrType            = "type"
	attrSubject         = "subject"
	attrTime            = "time"
	attrDataContentType = "datacontenttype"
	attrDataSchema      = "dataschema"
	attrSchemaVersion   = "schemaversion"
	attrPartitionKey    = "partitionkey"
	attrCorrelationID   = "correlationid"
	attrCausationID     = "causationid"
	attrDepth           = "depth"
	attrTraceParent     = "traceparent"
	attrData            = "data"
	attrDataBase64      = "data_base64"
)

// attributeNames are all of them, those of every event first.
var attributeNames = [...]string{
	attrSpecVersion, attrID, attrSource, attrType, attrTime, attrSchemaVersion, attrPartitionKey, attrCorrelationID, attrDepth, attrData,
	attrCausationID, attrTraceParent, attrSubject, attrDataContentType, attrDataSchema, attrDataBase64,
}

// structured is the envelope on the wire, in the order in which a person reads
// it.
type structured struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time,omitempty"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	DataSchema      string          `json:"dataschema,omitempty"`
	SchemaVersion   int             `json:"schemaversion"`
	PartitionKey    string          `json:"partitionkey,omitempty"`
	CorrelationID   string          `json:"correlationid,omitempty"`
	CausationID     string          `json:"causationid,omitempty"`
	Depth           int             `json:"depth"`
	TraceParent     string          `json:"traceparent,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
}

// MarshalJSON implements json.Marshaler: structured mode, unknown extensions
// last.
func (e Envelope) MarshalJSON() ([]byte, error) {
	wire := structured{
		SpecVersion: SpecVersion, ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject,
		DataContentType: e.DataContentType, DataSchema: e.DataSchema, SchemaVersion: e.SchemaVersion,
		PartitionKey: e.PartitionKey, CorrelationID: e.CorrelationID, CausationID: e.CausationID,
		Depth: e.Depth, TraceParent: e.TraceParent, Data: e.Data,
	}
	if !e.Time.IsZero() {
		wire.Time = e.Time.UTC().Format(time.RFC3339Nano)
	}
	encoded, err := json.Marshal(wire)
	if err != nil || len(e.Extensions) == 0 {
		return encoded, err
	}
	out := bytes.NewBuffer(encoded[:len(encoded)-1])
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		quoted, _ := json.Marshal(name) // a string always marshals
		out.WriteByte(',')
		out.Write(quoted)
		out.WriteByte(':')
		out.Write(e.Extensions[name])
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// UnmarshalJSON implements json.Unmarshaler. Its errors are of type *Error.
func (e *Envelope) UnmarshalJSON(encoded []byte) error {
	attributes, err := members(encoded)
	if err != nil {
		return e.fail(ErrMalformed, err, "not a JSON object")
	}
	return e.setAttributes(attributes)
}

// setAttributes fills the envelope; attributes that it doesn't know become
// extensions. null counts as absent, as the specification says.
func (e *Envelope) setAttributes(attributes []attribute) error {
	*e = Envelope{}
	var values [len(attributeNames)]json.RawMessage
	for _, a := range attributes {
		i := slices.Index(attributeNames[:], a.name)
		switch {
		case i < 0 && e.Extensions == nil:
			e.Extensions = map[string]json.RawMessage{a.name: a.value}
		case i < 0:
			e.Extensions[a.name] = a.value
		default:
			values[i] = a.value
		}
	}
	get := func(name string) json.RawMessage {
		raw := values[slices.Index(attributeNames[:], name)]
		if string(raw) == "null" {
			return nil
		}
		return raw
	}
	text := func(name string, to *string) error {
		raw := get(name)
		if raw == nil {
			return nil
		}
		value, err := unquote(raw)
		if err != nil {
			return e.fail(ErrMalformed, nil, "attribute %q is %s, want a string", name, excerpt(raw))
		}
		// The specification forbids them, and PostgreSQL can't store a NUL.
		if i := strings.IndexFunc(value, unicode.IsControl); i >= 0 {
			return e.fail(ErrMalformed, nil, "attribute %q contains the control character %q", name, []rune(value[i:])[0])
		}
		*to = value
		return nil
	}
	integer := func(name string, to *int) error {
		raw := get(name)
		if raw == nil {
			return nil
		}
		digits := strings.Trim(string(raw), `"`) // binary mode has only strings
		n, err := strconv.ParseInt(digits, 10, 32)
		if err != nil {
			return e.fail(ErrMalformed, nil, "attribute %q is %s, want an integer", name, excerpt(raw))
		}
		*to = int(n)
		return nil
	}
	var specVersion, when string
	for _, attribute := range [...]struct {
		name string
		to   *string
	}{
		// type and id first, so that the other errors can name the event
		{attrType, &e.Type}, {attrID, &e.ID}, {attrSpecVersion, &specVersion}, {attrSource, &e.Source},
		{attrSubject, &e.Subject}, {attrTime, &when}, {attrDataContentType, &e.DataContentType},
		{attrDataSchema, &e.DataSchema}, {attrPartitionKey, &e.PartitionKey}, {attrCorrelationID, &e.CorrelationID},
		{attrCausationID, &e.CausationID}, {attrTraceParent, &e.TraceParent},
	} {
		if err := text(attribute.name, attribute.to); err != nil {
			return err
		}
	}
	if err := integer(attrSchemaVersion, &e.SchemaVersion); err != nil {
		return err
	}
	if err := integer(attrDepth, &e.Depth); err != nil {
		return err
	}
	switch specVersion {
	case SpecVersion:
	case "":
		return e.fail(ErrMissingAttribute, nil, "%q is required: is this a CloudEvent?", attrSpecVersion)
	default:
		return e.fail(ErrMalformed, nil, "%q is %q, want %q", attrSpecVersion, specVersion, SpecVersion)
	}
	if when != "" {
		parsed, err := time.Parse(time.RFC3339, when)
		if year := parsed.UTC().Year(); err != nil || year < 0 || year > 9999 {
			return e.fail(ErrMalformed, nil, "attribute %q is %q, want an RFC 3339 time such as 2006-01-02T15:04:05Z", attrTime, when)
		}
		e.Time = parsed.UTC()
	}
	e.Data = get(attrData)
	if encoded := get(attrDataBase64); encoded != nil {
		var data []byte
		if err := json.Unmarshal(encoded, &data); err != nil {
			return e.fail(ErrMalformed, nil, "attribute %q is not base64", attrDataBase64)
		}
		e.Data = data
	}
	maps.DeleteFunc(e.Extensions, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
	if len(e.Extensions) == 0 {
		e.Extensions = nil
	}
	return nil
}

// validate checks what every event must have before its payload is looked at.
func (e Envelope) validate() error {
	for _, required := range []struct{ name, value string }{
		{attrID, e.ID}, {attrSource, e.Source}, {attrType, e.Type},
	} {
		if required.value == "" {
			return e.fail(ErrMissingAttribute, nil, "%q is required", required.name)
		}
	}
	switch {
	case e.SchemaVersion == 0:
		return e.fail(ErrMissingAttribute, nil, "%q is required: the version of the payload's schema, from 1", attrSchemaVersion)
	case e.SchemaVersion < 0:
		return e.fail(ErrMalformed, nil, "%q is %d, want 1 or more", attrSchemaVersion, e.SchemaVersion)
	case e.Depth < 0:
		return e.fail(ErrMalformed, nil, "%q is %d, want 0 or more", attrDepth, e.Depth)
	case e.Depth > MaxDepth:
		return e.fail(ErrTooDeep, nil, "depth %d, at most %d: do two handlers answer each other?", e.Depth, MaxDepth)
	case !isJSON(e.DataContentType):
		return e.fail(ErrMalformed, nil, "%q is %q, want JSON", attrDataContentType, e.DataContentType)
	}
	return nil
}

func isJSON(mediaType string) bool {
	if mediaType == "" || mediaType == jsonMediaType {
		return true
	}
	media, _, err := mime.ParseMediaType(mediaType)
	return err == nil && (media == jsonMediaType || strings.HasSuffix(media, "+json"))
}

// excerpt shortens a value for an error message, which must be valid UTF-8 for a
// database to take it.
func excerpt(raw []byte) string {
	const most = 40
	end := ""
	if len(raw) > most {
		raw, end = raw[:most], "…"
	}
	return strings.ToValidUTF8(string(raw), "") + end
}
