package handlers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/testkit"
)

const goodOrder = `{"customer":"Ada","email":"ada@example.com","items":[{"sku":"tea","quantity":2,"unit_price":450},{"sku":"cup","quantity":1,"unit_price":0}]}`

func TestPlaceOrder(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		w := b.do("POST", "/orders", goodOrder, "Content-Type", "application/x-www-form-urlencoded")
		require.Equal(t, http.StatusCreated, w.Code, w.Body)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		var placed order
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &placed))
		require.Equal(t, "/orders/"+placed.ID, w.Header().Get("Location"))
		require.EqualValues(t, 7, uuid.MustParse(placed.ID).Version())
		require.Equal(t, "placed", placed.Status)
		require.EqualValues(t, 900, placed.Total)
		require.Contains(t, w.Body.String(), `"stock_reserved_at":null`)

		got := b.do("GET", w.Header().Get("Location"), "")
		require.Equal(t, http.StatusOK, got.Code)
		require.Equal(t, w.Body.String(), got.Body.String(), "what was answered is what is stored")

		published := testkit.Published(t, b.db)
		require.Len(t, published, 1)
		require.Equal(t, "orders.placed", published[0].Type)
		require.Equal(t, 2, published[0].SchemaVersion)
		require.Equal(t, placed.ID, published[0].PartitionKey)
		require.Equal(t, events.OrderPlaced{
			OrderID: placed.ID, Customer: "Ada", Email: "ada@example.com", Items: placed.Items, PlacedAt: placed.PlacedAt,
		}, lastEvent[events.OrderPlaced](t, b.db))
	})
}

func TestCancelOrder(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		placed := b.place(t, events.Item{SKU: "tea", Quantity: 2, UnitPrice: 450})
		now := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
		b.orders.now = func() time.Time { return now }
		event := b.cancel(t, placed.OrderID)
		require.Equal(t, events.OrderCancelled{OrderID: placed.OrderID, Items: placed.Items, PlacedAt: placed.PlacedAt, CancelledAt: now}, event)

		w := b.do("GET", "/orders/"+placed.OrderID, "")
		require.Contains(t, w.Body.String(), `"status":"cancelled"`)
		require.Contains(t, w.Body.String(), `"cancelled_at":"2026-03-01T12:00:00.123456Z"`)

		requireProblem(t, b.do("POST", "/orders/"+placed.OrderID+"/cancel", ""), http.StatusConflict, "the order is cancelled already")
		require.Len(t, testkit.Published(t, b.db), 2)
	})
}

func TestUnknownOrder(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		for _, id := range []string{"1", "a%00b", "01926f5e-0000-7000-8000-000000000000"} {
			requireProblem(t, b.do("GET", "/orders/"+id, ""), http.StatusNotFound, "there is no such order")
			requireProblem(t, b.do("POST", "/orders/"+id+"/cancel", ""), http.StatusNotFound, "there is no such order")
		}
		b.requireNothingWritten(t)
	})
}

// orderWith is a good order but for one field.
func orderWith(field, value string) string {
	fields := map[string]string{"customer": `"Ada"`, "email": `"ada@example.com"`, "items": `[{"sku":"tea","quantity":2,"unit_price":450}]`}
	fields[field] = value
	return fmt.Sprintf(`{"customer":%s,"email":%s,"items":%s}`, fields["customer"], fields["email"], fields["items"])
}

func TestRefusedOrders(t *testing.T) {
	item := func(item string) string { return orderWith("items", "["+item+"]") }
	const accepted = "the body has fields that can't be accepted"
	const badEmail = "/email: must be an e-mail address such as ada@example.com"
	const badSKU = "/items/0/sku: must be 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or digit"
	tests := []struct {
		name, body string
		status     int
		detail     string
		fields     []string
	}{
		{"empty body", "", 400, "the body is not JSON: it is empty", nil},
		{"cut off", `{"customer":`, 400, "the body is not JSON: it ends too early", nil},
		{"not JSON", `customer=Ada`, 400, "the body is not JSON: invalid character 'c' looking for beginning of value", nil},
		{"trailing data", goodOrder + `{}`, 400, "the body goes on after its JSON value", nil},
		{"trailing bracket", goodOrder + `}`, 400, "the body goes on after its JSON value", nil},
		{"array", `[]`, 400, "the body must be a JSON object", nil},
		{"null", `null`, 400, "the body must be a JSON object", nil},
		{"not UTF-8", "{\"customer\":\"\xff\"}", 400, "the body is not UTF-8", nil},
		{"too deep", strings.Repeat("[", 20_000), 400, "the body is not JSON: invalid character '[' exceeded max depth", nil},
		{"too large", orderWith("customer", `"`+strings.Repeat("a", maxBody)+`"`), 413, "the body is larger than 1048576 bytes", nil},
		{"all missing", `{}`, 422, accepted, []string{"/customer: is required", "/email: is required", "/items: is required"}},
		{"all null", `{"customer":null,"email":null,"items":null}`, 422, accepted, []string{"/customer: is required", "/email: is required", "/items: is required"}},
		{"all wrong", `{"customer":1,"email":"@","items":[{"sku":"tea","quantity":0,"unit_price":-1,"x/y":1},7],"z":0}`, 422, accepted, []string{
			"/customer: must be a string", badEmail, "/items/1: must be an object",
			"/items/0/quantity: must be between 1 and 1000000, but is 0",
			"/items/0/unit_price: must be between 0 and 1000000000000, but is -1",
			"/items/0/x~1y: is not known", "/z: is not known",
		}},
		{"name in another case", `{"Customer":"Ada","email":"ada@example.com","items":[{"sku":"tea","quantity":2,"unit_price":450}]}`, 422, accepted,
			[]string{"/customer: is required", "/Customer: is not known"}},
		{"blank customer", orderWith("customer", `" "`), 422, accepted, []string{"/customer: must not be empty"}},
		{"long customer", orderWith("customer", `"`+strings.Repeat("ä", 201)+`"`), 422, accepted, []string{"/customer: must be at most 200 characters long, but has 201"}},
		{"NUL in customer", orderWith("customer", `"a\u0000"`), 422, accepted, []string{"/customer: must not contain control characters"}},
		{"e-mail with name", orderWith("email", `"Ada <ada@example.com>"`), 422, accepted, []string{badEmail}},
		{"e-mail in brackets", orderWith("email", `"<ada@example.com>"`), 422, accepted, []string{badEmail}},
		{"two e-mails", orderWith("email", `"a@example.com,b@example.com"`), 422, accepted, []string{badEmail}},
		{"e-mail without domain", orderWith("email", `"ada"`), 422, accepted, []string{badEmail}},
		{"e-mail with a header", orderWith("email", `"ada@example.com\r\nBcc: b@example.com"`), 422, accepted, []string{"/email: must not contain control characters"}},
		{"long e-mail", orderWith("email", `"`+strings.Repeat("a", 251)+`@b.c"`), 422, accepted, []string{"/email: must be at most 254 characters long, but has 255"}},
		{"no items", orderWith("items", `[]`), 422, accepted, []string{"/items: must not be empty"}},
		{"items no array", orderWith("items", `{}`), 422, accepted, []string{"/items: must be an array"}},
		{"too many items", item(strings.Repeat(`{"sku":"tea","quantity":1,"unit_price":1},`, 100) + `{}`), 422, accepted, []string{"/items: must have at most 100 entries, but has 101"}},
		{"empty item", item(`{}`), 422, accepted, []string{"/items/0/sku: is required", "/items/0/quantity: is required", "/items/0/unit_price: is required"}},
		{"odd sku", item(`{"sku":"../tea","quantity":1,"unit_price":1}`), 422, accepted, []string{badSKU}},
		{"long sku", item(`{"sku":"` + strings.Repeat("a", 65) + `","quantity":1,"unit_price":1}`), 422, accepted, []string{badSKU}},
		{"sku a number", item(`{"sku":1,"quantity":1,"unit_price":1}`), 422, accepted, []string{badSKU}},
		{"negative quantity", item(`{"sku":"tea","quantity":-2,"unit_price":1}`), 422, accepted, []string{"/items/0/quantity: must be between 1 and 1000000, but is -2"}},
		{"quantity over int64", item(`{"sku":"tea","quantity":9223372036854775808,"unit_price":1}`), 422, accepted, []string{"/items/0/quantity: must be between 1 and 1000000, but is 9223372036854775808"}},
		{"fraction", item(`{"sku":"tea","quantity":1.5,"unit_price":1e2}`), 422, accepted, []string{"/items/0/quantity: must be a whole number", "/items/0/unit_price: must be a whole number"}},
		{"number as text", item(`{"sku":"tea","quantity":"1","unit_price":true}`), 422, accepted, []string{"/items/0/quantity: must be a whole number", "/items/0/unit_price: must be a whole number"}},
		{"line too large", item(`{"sku":"tea","quantity":1000000,"unit_price":1000000000000}`), 422, accepted,
			[]string{"/items/0: quantity times unit_price must be at most 1000000000000, but is 1000000000000000000"}},
		{"lines too large by far", item(strings.TrimSuffix(strings.Repeat(`{"sku":"tea","quantity":1000000,"unit_price":1000000000000},`, 12), ",")), 422, accepted,
			overflowing(12)},
		{"total too large", item(`{"sku":"tea","quantity":1,"unit_price":1000000000000},{"sku":"tea","quantity":1,"unit_price":1}`), 422, accepted,
			[]string{"/items: the order's total must be at most 1000000000000, but is 1000000000001"}},
	}
	each(t, func(t *testing.T, b *bundle) {
		for _, test := range tests {
			w := b.do("POST", "/orders", test.body, "Idempotency-Key", test.name)
			p := requireProblem(t, w, test.status, test.detail)
			var fields []string
			for _, e := range p.Errors {
				fields = append(fields, e.Field+": "+e.Detail)
			}
			require.ElementsMatch(t, test.fields, fields, test.name)
			b.requireNothingWritten(t)
		}
		require.Empty(t, b.log.String(), "a client's mistake is not logged")
	})
}

func overflowing(lines int) (want []string) {
	for i := range lines {
		want = append(want, fmt.Sprintf("/items/%d: quantity times unit_price must be at most 1000000000000, but is 1000000000000000000", i))
	}
	return want
}

func TestLargestOrder(t *testing.T) {
	each(t, func(t *testing.T, b *bundle) {
		items := make([]events.Item, maxItems)
		for i := range items {
			items[i] = events.Item{SKU: strings.Repeat("a", 61) + fmt.Sprintf("%03d", i), Quantity: maxQuantity, UnitPrice: maxTotal / maxQuantity / maxItems}
			b.setStock(t, items[i].SKU, maxStock)
		}
		placed := b.place(t, items...)
		require.EqualValues(t, maxTotal, placed.Items.Total())
		require.NoError(t, b.reserve(t.Context(), placed))
		require.EqualValues(t, maxItems, b.count(t, `SELECT COUNT(*) FROM reservations`))
	})
}

func TestManyProblemsAreBounded(t *testing.T) {
	t.Parallel()
	var body strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&body, `,"f%d":1`, i)
	}
	p := requireProblem(t, newBundle(nil, nil).do("POST", "/orders", "{"+body.String()[1:]+"}"), 422, "the body has fields that can't be accepted")
	require.Len(t, p.Errors, 100)
}

// What parseOrder accepts has sums that fit, whatever the request.
func FuzzParseOrder(f *testing.F) {
	f.Add([]byte(goodOrder))
	f.Add([]byte(`{"customer":"a","email":"a@b","items":[{"sku":"a","quantity":1000000,"unit_price":1000000},{}]}`))
	f.Add([]byte(`{"items":[[],null,{"sku":null}],"":{},"/":1e999}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		placed, err := parseOrder(body)
		if err != nil {
			require.IsType(t, &problem{}, err)
			return
		}
		require.NotEmpty(t, placed.Items)
		require.LessOrEqual(t, placed.Total, int64(maxTotal))
		require.GreaterOrEqual(t, placed.Total, int64(0))
		require.GreaterOrEqual(t, placed.Items.Units(), int64(len(placed.Items)))
		require.NotContains(t, placed.Customer+placed.Email, "\x00")
	})
}

// Placing an order is one round trip to the database, BEGIN and COMMIT included;
// with an Idempotency-Key, which has to be claimed first, it is two.
func TestPlacingAnOrderTakesOneRoundTrip(t *testing.T) {
	t.Parallel()
	proxy := databasetest.NewProxy(t, databasetest.PostgresURL(t))
	db := databasetest.Open(t, proxy.URL, Migrations())
	catalog, err := events.Catalog()
	require.NoError(t, err)
	b := newBundle(db, testkit.Publisher(t, db, catalog, events.Schemas()))
	place := func(headers ...string) int64 {
		before := proxy.RoundTrips()
		w := b.do("POST", "/orders", goodOrder, headers...)
		require.Equal(t, http.StatusCreated, w.Code, w.Body)
		return proxy.RoundTrips() - before
	}
	place() // prepares the statements
	require.EqualValues(t, 1, place())
	place("Idempotency-Key", "a")
	require.EqualValues(t, 2, place("Idempotency-Key", "b"))
}
