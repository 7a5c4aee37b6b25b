package handlers

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStock(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		requireProblem(t, b.do("GET", "/stock/tea", ""), http.StatusNotFound, "nothing is known of this sku")
		requireProblem(t, b.do("GET", "/stock/%00", ""), http.StatusNotFound, "nothing is known of this sku")
		for _, quantity := range []string{"100", "0", "7"} {
			w := b.do("PUT", "/stock/tea", `{"quantity":`+quantity+`}`)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			require.JSONEq(t, `{"sku":"tea","available":`+quantity+`}`, w.Body.String())
			require.JSONEq(t, w.Body.String(), b.do("GET", "/stock/tea", "").Body.String())
		}
	})
}

func TestRefusedStock(t *testing.T) {
	t.Parallel()
	b := newBundle(nil, nil)
	const accepted = "the body has fields that can't be accepted"
	for _, test := range []struct {
		body, detail string
		fields       []fieldError
	}{
		{``, "the body is not JSON: it is empty", nil},
		{`{}`, accepted, []fieldError{{"/quantity", "is required"}}},
		{`{"quantity":-1}`, accepted, []fieldError{{"/quantity", "must be between 0 and 1000000000000, but is -1"}}},
		{`{"quantity":1.0}`, accepted, []fieldError{{"/quantity", "must be a whole number"}}},
		{`{"quantity":1,"sku":"tea"}`, accepted, []fieldError{{"/sku", "is not known"}}},
	} {
		w := b.do("PUT", "/stock/tea", test.body)
		require.Equal(t, test.fields, requireProblem(t, w, w.Code, test.detail).Errors)
		require.Contains(t, []int{400, 422}, w.Code)
	}
	requireProblem(t, b.do("PUT", "/stock/-tea", `{"quantity":1}`), 422,
		"the sku in the path must be 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or digit")
}
