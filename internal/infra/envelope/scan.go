package envelope

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// members splits a JSON object into its members without decoding or copying
// their values: the payload of an event may be large, and often enough nobody
// wants it. Of two members of one name the last counts, as in encoding/json.
func members(object []byte) (map[string]json.RawMessage, error) {
	if !json.Valid(object) || firstByte(object) != '{' {
		var anything map[string]json.RawMessage
		return anything, json.Unmarshal(object, &anything) // for its error
	}
	// From here on the syntax is known to be right.
	all := make(map[string]json.RawMessage, 16)
	rest := bytes.TrimLeft(object, space)[1:]
	for {
		rest = bytes.TrimLeft(rest, space+",")
		if rest[0] == '}' {
			return all, nil
		}
		n := valueLength(rest)
		name, err := unquote(rest[:n])
		if err != nil {
			return nil, err
		}
		rest = bytes.TrimLeft(rest[n:], space+":")
		n = valueLength(rest)
		all[name] = rest[:n:n]
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

// unquote decodes a JSON string. Most have nothing to decode.
func unquote(raw []byte) (string, error) {
	if len(raw) >= 2 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}
