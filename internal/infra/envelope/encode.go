package envelope

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MarshalJSON implements json.Marshaler: structured mode, in the order in which
// a person reads it, the payload after the attributes, unknown extensions last.
// A value that could not be read again is an error.
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
		if err := checkText(value); err != nil {
			problems = append(problems, fmt.Errorf("attribute %q %w", name, err))
		}
		out = appendString(appendName(out, name), value)
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
	if e.FallbackVersion != 0 {
		out = strconv.AppendInt(appendName(out, attrFallbackVersion), int64(e.FallbackVersion), 10)
	}
	text(attrPartitionKey, e.PartitionKey)
	text(attrCorrelationID, e.CorrelationID)
	text(attrCausationID, e.CausationID)
	out = strconv.AppendInt(appendName(out, attrDepth), int64(e.Depth), 10)
	text(attrTraceParent, e.TraceParent)
	if len(e.Data) > 0 {
		member(attrData.String(), e.Data)
	}
	if len(e.Extensions) == 0 { // as nearly always
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
	if isPlain(value) {
		return nil
	}
	if !utf8.ValidString(value) {
		return fmt.Errorf("is %.40q: %w", value, errNotUTF8)
	}
	if i := strings.IndexFunc(value, unicode.IsControl); i >= 0 {
		return fmt.Errorf("contains the control character %q", []rune(value[i:])[0])
	}
	return nil
}
