package schema

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"example.com/millwright/internal/infra/envelope"
)

// Computed is the Key of a type whose partition key is no field of the payload.
const Computed = "computed"

// keyOf finds out which field of a version's payload is the partition key: it
// gives each field another value, has the payload upcast, and looks which of them
// comes out as the key.
func keyOf(entry *envelope.Entry, version int) (pointer string) {
	defer func() {
		if recover() != nil { // the key or an upcaster needs more than single fields
			pointer = Computed
		}
	}()
	payload := reflect.New(entry.PayloadOf(version)).Elem()
	marks := map[string]jsontext.Pointer{} // the text of the value: where it is
	mark(payload, "", marks)
	current, err := entry.Upcast(version, payload.Interface())
	if err != nil {
		return Computed
	}
	if pointer, ok := marks[entry.Key(current)]; ok {
		return string(pointer)
	}
	return Computed
}

// mark gives every single value in v another one.
func mark(v reflect.Value, pointer jsontext.Pointer, marks map[string]jsontext.Pointer) {
	n := len(marks) + 1
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		mark(v.Elem(), pointer, marks)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("field %d", n))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(n % 100))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(n % 100))
	case reflect.Array:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			return
		}
		for i := range v.Len() { // such as a UUID
			v.Index(i).SetUint(uint64(n % 100))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case !f.IsExported() || name == "-":
			case f.Anonymous && name == "":
				mark(v.Field(i), pointer, marks)
			default:
				mark(v.Field(i), pointer.AppendToken(name), marks)
			}
		}
		return
	default:
		return
	}
	marks[text(v)] = pointer
}

// text is how a key function is likely to write the value.
func text(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if written, err := m.MarshalText(); err == nil {
			return string(written)
		}
	}
	return fmt.Sprint(v.Interface())
}
