package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
)

// MediaType is that of CloudEvents' structured mode.
const MediaType = "application/cloudevents+json"

const (
	structuredMedia = "application/cloudevents" // how all of its formats begin
	jsonMediaType   = "application/json"
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
	m.Metadata.Set(attrPartitionKey.String(), e.PartitionKey)
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
		e, err = fromStructured(m)
	}
	if err != nil {
		return e, err
	}
	return e, e.validate()
}

// isBinary looks for the attribute that every CloudEvent has among the
// message's headers. A payload that says it is structured wins.
func isBinary(m *message.Message) bool {
	if strings.HasPrefix(mediaType(messageContentType(m)), structuredMedia) {
		return false
	}
	for key := range m.Metadata {
		if name, ok := binaryAttribute(key); ok && name == attrSpecVersion.String() {
			return true
		}
	}
	return false
}

// mediaType is a content type without its parameters.
func mediaType(contentType string) string {
	switch contentType {
	case "", MediaType, jsonMediaType:
		return contentType
	}
	media, _, _ := mime.ParseMediaType(contentType) // empty if it can't be read
	return media
}

// messageContentType looks for the header in any case: HTTP and NATS clients
// write Content-Type.
func messageContentType(m *message.Message) string {
	if media := m.Metadata.Get(contentType); media != "" {
		return media
	}
	media := ""
	for key, value := range m.Metadata {
		if strings.EqualFold(key, contentType) {
			media = max(media, value) // of several always the same
		}
	}
	return media
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
	values := map[string]string{}
	var wrong []string // names, with what is wrong
	for key, value := range m.Metadata {
		name, ok := binaryAttribute(key)
		if !ok {
			continue
		}
		if key[2] == '-' {
			value = fromHTTP(value)
		}
		switch other, twice := values[name]; {
		case twice && other != value:
			wrong = append(wrong, fmt.Sprintf("attribute %q has two headers that differ", name))
		case name == attrData.String(), name == attrDataBase64.String():
			wrong = append(wrong, fmt.Sprintf("%q can't be a header: the payload is the data", name))
		case !utf8.ValidString(name), !utf8.ValidString(value):
			wrong = append(wrong, fmt.Sprintf("attribute %q is %q: it is not UTF-8", name, value))
		}
		values[name] = max(values[name], value) // the same in whichever order they come
	}
	if media := messageContentType(m); values[attrDataContentType.String()] == "" && media != "" {
		values[attrDataContentType.String()] = media // in NATS it is ce-datacontenttype
	}
	var attributes []attribute
	for name, value := range values {
		quoted := appendString(nil, name)
		a := named(quoted)
		a.value = appendString(nil, value)
		attributes = append(attributes, a)
	}
	var e Envelope
	if err := e.setAttributes(attributes); err != nil {
		return e, err
	}
	if len(wrong) > 0 {
		return e, e.fail(ErrMalformed, nil, "%s", slices.Min(wrong))
	}
	e.Data = json.RawMessage(m.Payload)
	return e, nil
}

// fromHTTP undoes what the HTTP binding, and that of NATS after it, does to a
// value: percent-encoding, and in older versions quotes.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values
func fromHTTP(value string) string {
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		value = quotedPair.ReplaceAllString(value[1:n-1], "$1")
	}
	if unescaped, err := url.PathUnescape(value); err == nil {
		return unescaped
	}
	return value
}

var quotedPair = regexp.MustCompile(`\\(.)`)

func fromStructured(m *message.Message) (Envelope, error) {
	var e Envelope
	if len(bytes.TrimSpace(m.Payload)) == 0 {
		return e, e.fail(ErrMalformed, nil, "the message is empty")
	}
	if media := mediaType(messageContentType(m)); media != MediaType && strings.HasPrefix(media, structuredMedia) {
		return e, e.fail(ErrMalformed, nil, "%q is %q, want %q", contentType, media, MediaType)
	}
	err := e.UnmarshalJSON(m.Payload) // not json.Unmarshal, whose syntax errors are not ours
	return e, err
}

// known is one of CloudEvents' attributes and this project's extensions.
type known int

const (
	attrSpecVersion known = iota
	attrID
	attrSource
	attrType
	attrSubject
	attrTime
	attrDataContentType
	attrDataSchema
	attrSchemaVersion
	attrPartitionKey
	attrCorrelationID
	attrCausationID
	attrDepth
	attrTraceParent
	attrData
	attrDataBase64
	unknown // an extension of somebody else's
)

// attributeNames are their names on the wire: lower-case letters and digits, at
// most 20 of them, as the specification asks.
var attributeNames = [unknown]string{
	"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "schemaversion", "partitionkey",
	"correlationid", "causationid", "depth", "traceparent", "data", "data_base64",
}

func (k known) String() string { return attributeNames[k] }

// MarshalJSON implements json.Marshaler: structured mode, in the order in which
// a person reads it, the payload after the attributes, unknown extensions last.
// What could not be read again is an error.
func (e Envelope) MarshalJSON() ([]byte, error) {
	var problems []error
	out := make([]byte, 0, 640+len(e.Data))
	member := func(name string, value []byte) {
		if err := checkValue(value); err != nil {
			problems = append(problems, fmt.Errorf("%q: %w", name, err))
		}
		out = append(append(appendString(append(out, ','), name), ':'), value...)
	}
	text := func(name known, value string) {
		if value == "" {
			return
		}
		out = appendName(out, name)
		if isPlain(value) {
			out = append(append(append(out, '"'), value...), '"')
			return
		}
		if err := checkText(value); err != nil {
			problems = append(problems, fmt.Errorf("attribute %q %w", name, err))
		}
		out = appendString(out, value)
	}
	out = append(out, `{"specversion":"`+SpecVersion+`"`...)
	text(attrID, e.ID)
	text(attrSource, e.Source)
	text(attrType, e.Type)
	text(attrSubject, e.Subject)
	if !e.Time.IsZero() {
		if !writable(e.Time) {
			problems = append(problems, fmt.Errorf("attribute %q is %s: RFC 3339 has the years 0 to 9999", attrTime, e.Time))
		}
		out = append(e.Time.UTC().AppendFormat(append(appendName(out, attrTime), '"'), time.RFC3339Nano), '"')
	}
	text(attrDataContentType, e.DataContentType)
	text(attrDataSchema, e.DataSchema)
	out = strconv.AppendInt(appendName(out, attrSchemaVersion), int64(e.SchemaVersion), 10)
	text(attrPartitionKey, e.PartitionKey)
	text(attrCorrelationID, e.CorrelationID)
	text(attrCausationID, e.CausationID)
	out = strconv.AppendInt(appendName(out, attrDepth), int64(e.Depth), 10)
	text(attrTraceParent, e.TraceParent)
	if len(e.Data) > 0 {
		member(attrData.String(), e.Data)
	}
	if len(e.Extensions) == 0 {
		return append(out, '}'), errors.Join(problems...)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		if slices.Contains(attributeNames[:], name) {
			problems = append(problems, fmt.Errorf("the extension %q is an attribute of the header", name))
		}
		member(name, e.Extensions[name])
	}
	return append(out, '}'), errors.Join(problems...)
}

// appendName appends the name of a member that isn't the first.
func appendName(out []byte, name known) []byte {
	return append(append(append(out, `,"`...), attributeNames[name]...), `":`...)
}

// appendString appends a JSON string.
func appendString(out []byte, s string) []byte {
	if isPlain(s) {
		return append(append(append(out, '"'), s...), '"')
	}
	quoted, _ := json.Marshal(s) // a string always marshals
	return append(out, quoted...)
}

// writable reports that RFC 3339 has the year, in UTC.
func writable(t time.Time) bool { return t.UTC().Year() >= 0 && t.UTC().Year() <= 9999 }

// checkText returns what keeps an attribute from having the value. The
// specification forbids control characters, and PostgreSQL can't store a NUL.
func checkText(value string) error {
	if !utf8.ValidString(value) {
		return fmt.Errorf("is %q: %w", value, errNotUTF8)
	}
	if i := strings.IndexFunc(value, unicode.IsControl); i >= 0 {
		return fmt.Errorf("contains the control character %q", []rune(value[i:])[0])
	}
	return nil
}

// UnmarshalJSON implements json.Unmarshaler. Its errors are of type *Error.
func (e *Envelope) UnmarshalJSON(encoded []byte) error {
	if !utf8.Valid(encoded) {
		return e.fail(ErrMalformed, errNotUTF8, "not a JSON object")
	}
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
	var values [unknown]json.RawMessage
	for _, a := range attributes {
		switch {
		case a.known != unknown:
			values[a.known] = a.value
		case e.Extensions == nil:
			e.Extensions = map[string]json.RawMessage{a.name: a.value}
		default:
			e.Extensions[a.name] = a.value
		}
	}
	get := func(name known) json.RawMessage {
		if raw := values[name]; string(raw) != "null" {
			return raw
		}
		return nil
	}
	text := func(name known, to *string) error {
		raw := get(name)
		if raw == nil {
			return nil
		}
		value, plain, err := unquote(raw)
		if err != nil {
			return e.fail(ErrMalformed, nil, "attribute %q is %s, want a string", name, excerpt(raw))
		}
		if plain {
			*to = value
			return nil
		}
		if err := checkText(value); err != nil {
			return e.fail(ErrMalformed, nil, "attribute %q %s", name, err)
		}
		*to = value
		return nil
	}
	integer := func(name known, to *int) error {
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
		name known
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
		parsed, err := time.Parse(time.RFC3339, strings.ToUpper(when)) // it allows t and z
		if err != nil || !writable(parsed) {
			return e.fail(ErrMalformed, nil, "attribute %q is %q, want an RFC 3339 time such as 2006-01-02T15:04:05Z", attrTime, when)
		}
		e.Time = parsed.UTC()
	}
	e.Data = get(attrData)
	if encoded := get(attrDataBase64); encoded != nil {
		if e.Data != nil {
			return e.fail(ErrMalformed, nil, "%q and %q exclude each other", attrData, attrDataBase64)
		}
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
	for _, required := range [...]struct {
		name  known
		value string
	}{
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

// isJSON says so of a payload's content type.
func isJSON(contentType string) bool {
	media := mediaType(contentType)
	return contentType == "" || media == jsonMediaType || strings.HasSuffix(media, "+json")
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
