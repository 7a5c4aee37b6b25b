package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// attributes are the members of an event, their values not decoded. null counts
// as absent, as the specification says.
type attributes struct {
	known  [unknown]json.RawMessage
	others map[string]json.RawMessage
}

// set gives the attribute of that name, a JSON string, a value. Of several the
// last counts, as in encoding/json.
func (a *attributes) set(name []byte, value json.RawMessage) {
	if string(value) == "null" {
		value = nil
	}
	for i, known := range attributeNames {
		if len(name) == len(known)+2 && string(name[1:len(name)-1]) == known {
			a.known[i] = value
			return
		}
	}
	other, _ := unquote(name) // a valid one
	switch {
	case value == nil:
		delete(a.others, other)
	case a.others == nil:
		a.others = map[string]json.RawMessage{other: value}
	default:
		a.others[other] = value
	}
}

// scan finds the members of a JSON object without decoding or copying their
// values: the payload of an event may be large, and often enough nobody wants it.
func (a *attributes) scan(object []byte) error {
	if a.scanned(object) {
		return nil
	}
	var anything map[string]json.RawMessage
	return json.Unmarshal(object, &anything) // for its error; null has none
}

func (a *attributes) scanned(object []byte) bool {
	d := jsontext.NewDecoder(bytes.NewBuffer(object), asEncodingJSON...)
	// read returns where the next value is in object: what the decoder returns is
	// gone with the value after it.
	read := func() ([]byte, bool) {
		value, err := d.ReadValue()
		end := int(d.InputOffset())
		return object[end-len(value) : end : end], err == nil
	}
	if begin, err := d.ReadToken(); err != nil || begin.Kind() != jsontext.KindBeginObject {
		return false
	}
	for d.PeekKind() == jsontext.KindString {
		name, named := read()
		value, ok := read()
		if !named || !ok {
			return false
		}
		a.set(name, value)
	}
	if _, err := d.ReadToken(); err != nil {
		return false
	}
	_, err := d.ReadToken()
	return err == io.EOF
}

// asEncodingJSON takes what encoding/json takes.
var asEncodingJSON = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// maxNesting is how deep arrays and objects may be in each other, by jsontext and
// by encoding/json.
const maxNesting = 10_000

// checkValue returns what keeps text from being the value of a member: one JSON
// value in UTF-8.
func checkValue(text []byte) error {
	if !utf8.Valid(text) {
		return errNotUTF8
	}
	if !jsontext.Value(text).IsValid(asEncodingJSON...) {
		var anything json.RawMessage
		return json.Unmarshal(text, &anything) // for its error
	}
	// A value of that depth is as long at least, and will be in an object.
	if len(text) >= 2*maxNesting && !jsontext.Value(slices.Concat([]byte("["), text, []byte("]"))).IsValid(asEncodingJSON...) {
		return fmt.Errorf("arrays and objects are nested more than %d deep", maxNesting-1)
	}
	return nil
}

// errNotUTF8 is JSON that isn't UTF-8, as RFC 8259 asks in section 8.1:
// encoding/json would quietly replace what it can't read.
var errNotUTF8 = errors.New("it is not UTF-8")

// unquote decodes a JSON string. Most have nothing to decode.
func unquote(raw []byte) (string, error) {
	if len(raw) >= 2 && raw[0] == '"' && isPlain(raw[1:len(raw)-1]) {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// isPlain reports that text is the same inside a JSON string as outside, and may
// be an attribute's value: printable ASCII without what encoding/json escapes.
func isPlain[T string | []byte](text T) bool {
	for i := range len(text) {
		if !plain[text[i]] {
			return false
		}
	}
	return true
}

// plain are the bytes of such texts.
var plain = func() (plain [256]bool) {
	for c := ' '; c <= '~'; c++ {
		plain[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return plain
}()
