package envelope

import (
	"bytes"
	"encoding/json"
)

// attribute is a member of a JSON object, its value not decoded.
type attribute struct {
	name  string
	value json.RawMessage
}

// members splits a JSON object into its members without decoding or copying
// their values: the payload of an event may be large, and often enough nobody
// wants it. Of two members of one name the last counts, as in encoding/json.
func members(object []byte) ([]attribute, error) {
	if !json.Valid(object) || firstByte(object) != '{' {
		var anything map[string]json.RawMessage
		return nil, json.Unmarshal(object, &anything) // for its error; null has none
	}
	// From here on the syntax is known to be right.
	all := make([]attribute, 0, 16)
	rest := bytes.TrimLeft(object, space)[1:]
	for {
		rest = bytes.TrimLeft(rest, space+",")
		if rest[0] == '}' {
			return all, nil
		}
		n := valueLength(rest)
		name, err := attributeName(rest[:n])
		if err != nil {
			return nil, err
		}
		rest = bytes.TrimLeft(rest[n:], space+":")
		n = valueLength(rest)
		all = append(all, attribute{name, rest[:n:n]})
		rest = rest[n:]
	}
}

const space = " \t\r\n"

func firstByte(text []byte) byte {
	if text = bytes.TrimLeft(text, space); len(text) > 0 {
		return text[0]
	}
	return 0
}

// valueLength is where the valid value at the beginning of text ends.
func valueLength(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // after a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// attributeName decodes a member's name; those that are known are not copied.
func attributeName(raw []byte) (string, error) {
	for _, name := range attributeNames {
		if len(raw) == len(name)+2 && string(raw[1:len(raw)-1]) == name {
			return name, nil
		}
	}
	return unquote(raw)
}

// unquote decodes a JSON string. Most have nothing to decode.
func unquote(raw []byte) (string, error) {
	if len(raw) >= 2 && raw[0] == '"' && isPlain(raw) {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// isPlain reports that a valid JSON value is printable ASCII without an escape.
func isPlain(raw []byte) bool {
	for _, c := range raw {
		if c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}
