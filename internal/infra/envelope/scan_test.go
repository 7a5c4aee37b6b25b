package envelope

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a":1,"a":[2,{"b":"}"}]}`, "{\"a\" : \"x\\\"y\" ,\t\"b\\u0041\":null\n}", `{"a":true,"b":-1.5e3 ,"c":""}`,
		`null`, `[]`, `"x"`, `1`, ``, `{`, `{"a"}`, `{"a":}`, "{\"\xff\":\"\xff\"}", `{"a":"\ud800"}`, `{} x`, `{"a":[[[{"b":[]}]]]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(object, &want)
		var got attributes
		err := got.scan(object)
		if wantErr != nil {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		maps.DeleteFunc(want, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
		all := map[string]json.RawMessage{}
		maps.Copy(all, got.others)
		for name, value := range got.known {
			if value != nil {
				all[known(name).String()] = value
			}
		}
		require.Len(t, all, len(want))
		for name, value := range want {
			require.Equal(t, string(value), string(all[name]), name)
			var text string
			wantErr := json.Unmarshal(value, &text)
			s, err := unquote(all[name])
			require.Equal(t, wantErr == nil, err == nil)
			require.Equal(t, text, s)
		}
	})
}

// Section "Naming Conventions" of the specification; data_base64 is a member of
// the JSON format, and no attribute.
func TestAttributeNames(t *testing.T) {
	t.Parallel()
	for i, name := range attributeNames {
		if known(i) != attrDataBase64 {
			require.Regexp(t, `^[a-z0-9]{1,20}$`, name)
		}
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	e := Envelope{Header: Header{
		ID: "0197f5d0-0000-7000-8000-000000000000", Source: "orders", Type: "orders.placed", Time: time.Unix(1, 0), SchemaVersion: 2,
		PartitionKey: "0197f5d0-0000-7000-8000-000000000001", CorrelationID: "0197f5d0-0000-7000-8000-000000000000",
	}, Data: json.RawMessage(`{"order_id":"0197f5d0-0000-7000-8000-000000000001","customer":"Ada Lovelace","email":"ada@example.com","items":[{"sku":"cup","quantity":2,"unit_price":1200},{"sku":"plate","quantity":6,"unit_price":900},{"sku":"bowl","quantity":4,"unit_price":700}],"placed_at":"2026-11-24T10:00:00.123456Z"}`)}
	encoded, err := json.Marshal(e)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		var got Envelope
		if err := got.UnmarshalJSON(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
