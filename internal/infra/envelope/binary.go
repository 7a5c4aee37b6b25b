package envelope

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
)

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
	var wrong []string // what is wrong with a header
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
			wrong = append(wrong, fmt.Sprintf("attribute %q is %.40q: it is not UTF-8", name, value))
		}
		values[name] = max(values[name], value) // the same in whichever order they come
	}
	if media := messageContentType(m); values[attrDataContentType.String()] == "" && media != "" {
		values[attrDataContentType.String()] = media // in NATS it is ce-datacontenttype
	}
	var a attributes
	for name, value := range values {
		a.set(appendString(nil, name), appendString(nil, value))
	}
	var e Envelope
	if err := e.setAttributes(&a); err != nil {
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
