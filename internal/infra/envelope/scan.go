package envelope

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// attribute is a member of a JSON object, its value not decoded.
type attribute struct {
	known known  // which one it is
	name  string // of one that isn't known
	value json.RawMessage
}

// members splits a JSON object into its members without decoding or copying
// their values: the payload of an event may be large, and often enough nobody
// wants it. Of two members of one name the last counts, as in encoding/json.
func members(object []byte) ([]attribute, error) {
	all, ok := scanMembers(object)
	if ok {
		return all, nil
	}
	var anything map[string]json.RawMessage
	return nil, json.Unmarshal(object, &anything) // for its error; null has none
}

func scanMembers(object []byte) ([]attribute, bool) {
	s := scanner{text: object}
	if !s.byte('{') {
		return nil, false
	}
	all := make([]attribute, 0, 16)
	for !s.byte('}') {
		if len(all) > 0 && !s.byte(',') {
			return nil, false
		}
		s.next()
		name := s.at
		if !s.string() {
			return nil, false
		}
		a := named(object[name:s.at])
		if !s.byte(':') {
			return nil, false
		}
		s.next()
		value := s.at
		if !s.value(maxNesting - 1) {
			return nil, false
		}
		a.value = object[value:s.at:s.at]
		all = append(all, a)
	}
	return all, s.end()
}

// named is an attribute of that name, a JSON string.
func named(raw []byte) attribute {
	for i, name := range attributeNames {
		if len(raw) == len(name)+2 && string(raw[1:len(raw)-1]) == name {
			return attribute{known: known(i)}
		}
	}
	name, _, _ := unquote(raw) // a valid one
	return attribute{known: unknown, name: name}
}

// checkValue returns what keeps text from being the value of a member: one JSON
// value in UTF-8.
func checkValue(text []byte) error {
	if !utf8.Valid(text) {
		return errNotUTF8
	}
	if s := (scanner{text: text}); s.value(maxNesting-1) && s.end() {
		return nil
	}
	var anything json.RawMessage
	if err := json.Unmarshal(text, &anything); err != nil {
		return err
	}
	return fmt.Errorf("arrays and objects are nested more than %d deep", maxNesting-1)
}

// errNotUTF8 is JSON that isn't UTF-8, as RFC 8259 asks in section 8.1:
// encoding/json would quietly replace what it can't read.
var errNotUTF8 = errors.New("it is not UTF-8")

// unquote decodes a JSON string. Most are plain, with nothing to decode.
func unquote(raw []byte) (s string, plain bool, err error) {
	if len(raw) >= 2 && raw[0] == '"' && isPlain(raw[1:len(raw)-1]) {
		return string(raw[1 : len(raw)-1]), true, nil
	}
	var decoded string
	err = json.Unmarshal(raw, &decoded)
	return decoded, false, err
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

var plain = func() (plain [256]bool) {
	for c := ' '; c <= '~'; c++ {
		plain[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return plain
}()
