package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxBody is the largest request body, in bytes.
const maxBody = 1 << 20

// skuForm is what an article's name may look like: it is part of a URL.
var skuForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

const skuWant = "must be 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or digit"

// readBody returns the request's body, whatever its media type claims: curl -d
// calls JSON a form.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit))
	}
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "the body can't be read to its end")
	}
	return body, nil
}

// object is a JSON object that is read field by field. What is wrong with it is
// collected, so that the client hears of everything at once. The fields are
// looked at by hand because encoding/json stops at the first mistake and takes
// names in any case.
type object struct {
	at       string // JSON pointer
	fields   map[string]any
	problems *[]fieldError
}

// parseObject parses a body that must be a single JSON object.
func parseObject(body []byte) (object, error) {
	o := object{problems: &[]fieldError{}}
	if !utf8.Valid(body) {
		return o, newProblem(http.StatusBadRequest, "the body is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		detail := err.Error()
		switch {
		case errors.Is(err, io.EOF):
			detail = "it is empty"
		case errors.Is(err, io.ErrUnexpectedEOF):
			detail = "it ends too early"
		}
		return o, newProblem(http.StatusBadRequest, "the body is not JSON: "+detail)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return o, newProblem(http.StatusBadRequest, "the body goes on after its JSON value")
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return o, newProblem(http.StatusBadRequest, "the body must be a JSON object")
	}
	o.fields = fields
	return o, nil
}

// fail notes what is wrong with a field, or with the object if name is empty.
func (o object) fail(name, format string, args ...any) {
	at := o.at
	if name != "" {
		at += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	}
	*o.problems = append(*o.problems, fieldError{Field: at, Detail: fmt.Sprintf(format, args...)})
}

// take removes a field and returns it if it is there.
func (o object) take(name string) (any, bool) {
	value := o.fields[name]
	delete(o.fields, name)
	if value == nil {
		o.fail(name, "is required")
	}
	return value, value != nil
}

// text reads a string of 1 to most characters that can be printed.
func (o object) text(name string, most int) string {
	value, ok := o.take(name)
	if !ok {
		return ""
	}
	s, isString := value.(string)
	switch n := utf8.RuneCountInString(s); {
	case !isString:
		o.fail(name, "must be a string")
	case strings.TrimSpace(s) == "":
		o.fail(name, "must not be empty")
	case n > most:
		o.fail(name, "must be at most %d characters long, but has %d", most, n)
	case strings.ContainsFunc(s, unicode.IsControl):
		o.fail(name, "must not contain control characters")
	default:
		return s
	}
	return ""
}

// sku reads the name of an article.
func (o object) sku(name string) string {
	value, ok := o.take(name)
	if !ok {
		return ""
	}
	s, _ := value.(string)
	if !skuForm.MatchString(s) {
		o.fail(name, skuWant)
	}
	return s
}

// email reads a bare address: no name, no brackets.
func (o object) email(name string) string {
	s := o.text(name, 254) // RFC 5321, section 4.5.3.1.3
	if s == "" {
		return ""
	}
	address, err := mail.ParseAddress(s)
	if err != nil || address.Address != s {
		o.fail(name, "must be an e-mail address such as ada@example.com")
	}
	return s
}

// integer reads a whole number within bounds.
func (o object) integer(name string, least, most int64) int64 {
	value, ok := o.take(name)
	if !ok {
		return 0
	}
	digits, _ := value.(json.Number)
	n, err := strconv.ParseInt(digits.String(), 10, 64)
	if (err != nil && !errors.Is(err, strconv.ErrRange)) || digits == "" {
		o.fail(name, "must be a whole number")
		return 0
	}
	if n < least || n > most || err != nil {
		o.fail(name, "must be between %d and %d, but is %s", least, most, shorten(digits.String()))
		return 0
	}
	return n
}

// objects reads an array of 1 to most objects.
func (o object) objects(name string, most int) []object {
	value, ok := o.take(name)
	if !ok {
		return nil
	}
	list, isList := value.([]any)
	switch {
	case !isList:
		o.fail(name, "must be an array")
		return nil
	case len(list) == 0:
		o.fail(name, "must not be empty")
		return nil
	case len(list) > most:
		o.fail(name, "must have at most %d entries, but has %d", most, len(list))
		return nil
	}
	objects := make([]object, 0, len(list))
	for i, element := range list {
		entry := object{at: fmt.Sprintf("%s/%s/%d", o.at, name, i), problems: o.problems}
		if entry.fields, ok = element.(map[string]any); !ok {
			entry.fail("", "must be an object")
			continue
		}
		objects = append(objects, entry)
	}
	return objects
}

// done notes the fields that nobody took.
func (o object) done() {
	for _, name := range slices.Sorted(maps.Keys(o.fields)) {
		o.fail(shorten(name), "is not known")
	}
}

// problem returns all that was noted as one error, or nil.
func (o object) problem() error {
	if len(*o.problems) == 0 {
		return nil
	}
	// A client can cause as many as fit into a body.
	return newProblem(http.StatusUnprocessableEntity, "the body has fields that can't be accepted", (*o.problems)[:min(len(*o.problems), 100)]...)
}

// shorten keeps a client's text from filling the answer.
func shorten(s string) string {
	const most = 40
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}
