package compat_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/invopop/jsonschema"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope/compat"
)

type (
	address struct {
		Street string `json:"street"`
		Zip    string `json:"zip,omitempty"`
	}
	parcelV1 struct {
		ID     string         `json:"id"`
		From   address        `json:"from"`
		To     address        `json:"to"`
		Weight int64          `json:"weight" jsonschema:"minimum=1"`
		Tags   map[string]int `json:"tags"`
		Sent   time.Time      `json:"sent"`
		Stamps []byte         `json:"stamps"`
		Rows   map[int]string `json:"rows"`
		Kind   string         `json:"kind" jsonschema:"enum=letter,enum=box"`
	}
	// parcelV2 reads what V1 wrote: a new optional field, a wider enum and bound, a number for an integer.
	parcelV2 struct {
		ID     string             `json:"id"`
		From   address            `json:"from"`
		To     address            `json:"to"`
		Weight float64            `json:"weight"`
		Tags   map[string]float64 `json:"tags"`
		Sent   time.Time          `json:"sent"`
		Stamps []byte             `json:"stamps"`
		Rows   map[int]string     `json:"rows"`
		Kind   string             `json:"kind" jsonschema:"enum=letter,enum=box,enum=crate"`
		Note   *string            `json:"note,omitempty" jsonschema:"nullable"`
	}
	strictAddress struct {
		Street string `json:"street"`
		Zip    string `json:"zip" jsonschema:"minLength=5"`
	}
	// parcelV3 doesn't: a nested field became required and bounded, one went, one changed its type.
	parcelV3 struct {
		ID     string         `json:"id"`
		From   strictAddress  `json:"from"`
		To     strictAddress  `json:"to"`
		Weight string         `json:"weight"`
		Tags   map[string]int `json:"tags"`
		Sent   time.Time      `json:"sent"`
		Rows   map[int]string `json:"rows"`
		Kind   string         `json:"kind"`
		By     string         `json:"by"`
	}
	folder struct {
		Name    string    `json:"name"`
		Folders []*folder `json:"folders,omitempty"`
	}
	folderV2 struct {
		Name    string      `json:"name"`
		Size    int         `json:"size,omitempty"`
		Folders []*folderV2 `json:"folders,omitempty"`
	}
	folderV3 struct {
		Name    string      `json:"name"`
		Size    int         `json:"size"`
		Folders []*folderV3 `json:"folders,omitempty"`
	}
)

// reflectors are the ways to make a schema of a Go type.
var reflectors = map[string]jsonschema.Reflector{
	"in one tree": {DoNotReference: true, Anonymous: true},
	"with $defs":  {},
	"expanded":    {ExpandedStruct: true},
}

func decodes(into any, data []byte) error {
	target := reflect.New(reflect.TypeOf(into))
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(target.Interface())
}

func TestGoTypes(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	v1 := parcelV1{ID: "1", From: address{Street: "Main St"}, To: address{"High St", "12345"}, Weight: 3, Tags: map[string]int{"a": 1}, Sent: at,
		Stamps: []byte{1, 2}, Rows: map[int]string{1: "x"}, Kind: "box"}
	deep := folder{"a", []*folder{{"b", []*folder{{Name: "c"}}}, {Name: "d"}}}
	for name, test := range map[string]struct {
		writer, reader any
		values         []any
		want           []string
		recursive      bool // only with $defs: in one tree it has no end, and expanded the reflector drops the definition of the root
	}{
		"parcel 1 to 2": {writer: parcelV1{}, reader: parcelV2{}, values: []any{v1}},
		"parcel 2 to 1": {writer: parcelV2{}, reader: parcelV1{}, want: []string{
			"bound-tightened /weight", "type-narrowed /weight", "type-narrowed /tags/text", "enum-narrowed /kind", "property-unknown /note"}},
		"parcel 1 to 3": {writer: parcelV1{}, reader: parcelV3{}, want: []string{
			"required-added /from/zip", "bound-tightened /from/zip", "required-added /to/zip", "bound-tightened /to/zip", "type-changed /weight",
			"property-unknown /stamps", "property-added-required /by"}},
		"folder 1 to 2": {writer: folder{}, reader: folderV2{}, values: []any{deep}, recursive: true},
		"folder 2 to 1": {writer: folderV2{}, reader: folder{}, want: []string{"property-unknown /size"}, recursive: true},
		"folder 2 to 3": {writer: folderV2{}, reader: folderV3{}, want: []string{"required-added /size"}, recursive: true},
	} {
		for way, reflector := range reflectors {
			if test.recursive && (reflector.DoNotReference || reflector.ExpandedStruct) {
				continue
			}
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				writer, reader := reflector.Reflect(test.writer), reflector.Reflect(test.reader)
				reflected, err := compat.Differences(writer, reader)
				require.NoError(t, err)
				// The same from files.
				w, r := write(t, writer), write(t, reader)
				differences, err := compat.Differences(parse(t, w), parse(t, r))
				require.NoError(t, err)
				require.Equal(t, reflected, differences)

				var got []string
				for _, d := range differences {
					got = append(got, string(d.Rule)+" "+d.Pointer)
					require.NotEmpty(t, d.Counterexample, "%+v", d)
				}
				require.Equal(t, test.want, got)
				requireProven(t, w, r, differences)

				for _, value := range test.values {
					require.NoError(t, decodes(test.reader, []byte(write(t, value))))
				}
				for _, s := range []struct {
					schema *jsonschema.Schema
					of     any
				}{{writer, test.writer}, {reader, test.reader}} {
					example, err := compat.Example(s.schema)
					require.NoError(t, err)
					require.NoError(t, decodes(s.of, []byte(write(t, example))), write(t, example))
				}
				if len(test.want) == 0 { // what an old producer sends, whole and minimal, is decoded
					for _, make := range []func(*jsonschema.Schema) (any, error){compat.Example, compat.MinimalExample} {
						example, err := make(writer)
						require.NoError(t, err)
						require.NoError(t, decodes(test.reader, []byte(write(t, example))), write(t, example))
					}
				}
			})
		}
	}
}

// What a strict decoder refuses, the comparison of the schemas finds.
func TestCounterexamplesBreakTheDecoder(t *testing.T) {
	t.Parallel()
	reflector := jsonschema.Reflector{}
	differences, err := compat.Differences(reflector.Reflect(parcelV1{}), reflector.Reflect(parcelV3{}))
	require.NoError(t, err)
	for _, d := range differences {
		require.NoError(t, decodes(parcelV1{}, d.Counterexample), "%s", d.Counterexample)
		if d.Rule == compat.PropertyUnknown || d.Rule == compat.TypeChanged {
			require.Error(t, decodes(parcelV3{}, d.Counterexample), "%s", d.Counterexample)
		}
	}
}
