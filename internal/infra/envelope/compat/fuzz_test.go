package compat_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope/compat"
)

// FuzzDifferences: any two schemas get an answer, and what it shows is true.
func FuzzDifferences(f *testing.F) {
	for _, pair := range [][2]string{
		{closed, `{"type":"object"}`}, {tree, closed},
		{`{"enum":["a",1,null]}`, `{"anyOf":[{"type":"string","pattern":"^b"},{"type":"integer","multipleOf":2}]}`},
		{`{"type":"array","uniqueItems":true,"minItems":2}`, `{"items":{"minimum":1,"format":"date"},"maxItems":3}`},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, writer, reader string) {
		w, err := compat.Parse([]byte(writer))
		if err != nil {
			return
		}
		r, err := compat.Parse([]byte(reader))
		if err != nil {
			return
		}
		if differences, err := compat.Differences(w, r); err == nil {
			requireProven(t, writer, reader, differences)
		}
		if _, err := compat.Changes(w, r); err != nil {
			require.ErrorContains(t, err, "compat:")
		}
		if example, err := compat.Example(w); err == nil {
			require.True(t, valid(t, compile(t, writer), []byte(write(t, example))), "%v", example)
		}
	})
}
