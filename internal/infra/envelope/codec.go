package envelope

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
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
	attrFallbackVersion
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
	"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "schemaversion", "fallbackversion", "partitionkey",
	"correlationid", "causationid", "depth", "traceparent", "data", "data_base64",
}

func (k known) String() string { return attributeNames[k] }

// UnmarshalJSON implements json.Unmarshaler. Its errors are of type *Error.
func (e *Envelope) UnmarshalJSON(encoded []byte) error {
	if !utf8.Valid(encoded) {
		return e.fail(ErrMalformed, errNotUTF8, "not a JSON object")
	}
	var a attributes
	if err := a.scan(encoded); err != nil {
		return e.fail(ErrMalformed, err, "not a JSON object")
	}
	return e.setAttributes(&a)
}

// setAttributes fills the envelope; attributes that it doesn't know become
// extensions.
func (e *Envelope) setAttributes(a *attributes) error {
	*e = Envelope{}
	text := func(name known, to *string) error {
		raw := a.known[name]
		if raw == nil {
			return nil
		}
		value, err := unquote(raw)
		if err != nil {
			return e.fail(ErrMalformed, nil, "attribute %q is %s, want a string", name, excerpt(raw))
		}
		if err := checkText(value); err != nil {
			return e.fail(ErrMalformed, nil, "attribute %q %s", name, err)
		}
		*to = value
		return nil
	}
	integer := func(name known, to *int) error {
		raw := a.known[name]
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
	if err := integer(attrFallbackVersion, &e.FallbackVersion); err != nil {
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
	e.Data = a.known[attrData]
	if encoded := a.known[attrDataBase64]; encoded != nil {
		if e.Data != nil {
			return e.fail(ErrMalformed, nil, "%q and %q exclude each other", attrData, attrDataBase64)
		}
		var data []byte
		if err := json.Unmarshal(encoded, &data); err != nil {
			return e.fail(ErrMalformed, nil, "attribute %q is not base64", attrDataBase64)
		}
		e.Data = data
	}
	if len(a.others) > 0 {
		e.Extensions = a.others
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
	case e.FallbackVersion < 0:
		return e.fail(ErrMalformed, nil, "%q is %d, want 0 or more", attrFallbackVersion, e.FallbackVersion)
	case e.Depth < 0:
		return e.fail(ErrMalformed, nil, "%q is %d, want 0 or more", attrDepth, e.Depth)
	case e.Depth > MaxDepth:
		return e.fail(ErrTooDeep, nil, "depth %d, at most %d: do two handlers answer each other?", e.Depth, MaxDepth)
	case !isJSON(e.DataContentType):
		return e.fail(ErrMalformed, nil, "%q is %q, want JSON", attrDataContentType, e.DataContentType)
	}
	return nil
}

// isJSON says so of a payload's content type, as section 3.1 of the JSON event
// format has it.
func isJSON(contentType string) bool {
	media := mediaType(contentType)
	return contentType == "" || strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
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
