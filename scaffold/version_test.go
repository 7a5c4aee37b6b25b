package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnchanged starts a version before the payload type is changed: all
// passes at once, and nothing but what must be is another than before.
func TestUnchanged(t *testing.T) {
	r := setup(t)
	before := map[string]string{catalogFile: r.read(catalogFile), ordersFile: r.read(ordersFile)}
	dry := r.version("orders.placed", "--dry-run")
	require.Equal(t, before[ordersFile], r.read(ordersFile))
	require.Contains(t, dry, "+// OrderPlacedV2 is version 2 of OrderPlaced, until version 3.\n")
	require.Contains(t, dry, "Nothing was written.")

	require.Equal(t, `orders.placed has version 3 now. Version 2 of OrderPlaced, from HEAD, is OrderPlacedV2.

changed internal/events/catalog.go
changed internal/events/orders.go
added   internal/events/orders_placed_v2_test.go

Next:
change OrderPlaced
  (OrderPlacedV2 is made of Items and Item too: instead of changing these, give the new version others)
go generate ./...
go test ./internal/events
go run ./cmd/service events check
`, r.version("orders.placed"))
	r.mustPass()

	catalog := strings.NewReplacer("Version: 2", "Version: 3",
		"OrderPlacedV1.upcast)", "OrderPlacedV1.upcast), envelope.Upcast(2, OrderPlacedV2.upcast)").Replace(before[catalogFile])
	require.Equal(t, catalog, r.read(catalogFile))

	const end = "\t}, nil\n}\n" // of the upcaster from version 1
	head, tail, _ := strings.Cut(before[ordersFile], end)
	head = strings.NewReplacer("upcast() (OrderPlaced,", "upcast() (OrderPlacedV2,", "return OrderPlaced{", "return OrderPlacedV2{").Replace(head)
	require.Equal(t, head+end+`
// OrderPlacedV2 is version 2 of OrderPlaced, until version 3.
//
// OrderPlaced says that a customer's order was accepted and stored. Nothing is
// reserved, paid or sent yet.
type OrderPlacedV2 struct {
	// OrderID is the order's UUIDv7, and the key within which events stay in order.
	OrderID string `+"`json:\"order_id\"`"+`
	// Customer is the customer's name as entered.
	Customer string `+"`json:\"customer\"`"+`
	// Email is the bare address that the customer gave.
	Email string `+"`json:\"email\"`"+`
	// Items is what was ordered, one or more, as entered: a sku may occur twice.
	Items Items `+"`json:\"items\" jsonschema:\"minItems=1\"`"+`
	// PlacedAt is when the order was accepted, in UTC.
	PlacedAt time.Time `+"`json:\"placed_at\"`"+`
}

// upcast makes version 3 of version 2.
func (old OrderPlacedV2) upcast() (OrderPlaced, error) {
	return OrderPlaced{
		OrderID:  old.OrderID,
		Customer: old.Customer,
		Email:    old.Email,
		Items:    old.Items,
		PlacedAt: old.PlacedAt,
	}, nil
}
`+tail, r.read(ordersFile))
}

func TestRenamedField(t *testing.T) {
	r := setup(t)
	// The first place of each is in OrderPlaced.
	r.replace(ordersFile, "Customer string `json:\"customer\"`", "Buyer string `json:\"buyer\"`", 1)
	r.replace(ordersTest, "Customer: ", "Buyer: ", -1)
	out := r.version("orders.placed")
	require.Contains(t, out, `
Decide in OrderPlacedV2.upcast:
- Buyer string is new: set it from the old event or to a default, or give it omitempty
- Customer string is gone: is it what a new field holds?
`)
	require.Contains(t, r.read(ordersFile), `
	// Decide on each of these, then remove its line:
	// - Buyer string is new: set it from the old event or to a default, or give it omitempty
	// - Customer string is gone: is it what a new field holds?
	return OrderPlaced{
`)
	r.mustFail("Buyer is empty: set it in an upcaster from version 2 on")
	r.replace(ordersFile, "return OrderPlaced{\n", "return OrderPlaced{\nBuyer: old.Customer,\n", 1)
	r.mustPass()
}

func TestNewFields(t *testing.T) {
	r := setup(t)
	r.replace(ordersFile, "Email string", "Note string `json:\"note,omitempty\"`\nCurrency string `json:\"currency\"`\nEmail string", 1)
	out := r.version("orders.placed")
	require.Contains(t, out, "- Note string is new and may stay empty: set it if the old event says it\n")
	require.Contains(t, out, "- Currency string is new: set it from the old event or to a default, or give it omitempty\n")
	r.mustFail("Currency is empty: set it in an upcaster from version 2 on")
	r.replace(ordersFile, "return OrderPlaced{\n", "return OrderPlaced{\nCurrency: \"EUR\",\n", 1)
	// The older test compares with a payload without a currency.
	r.mustFail("TestOrderPlacedVersion1IsUpcast")
	r.replace(ordersTest, "require.Equal(t, events.OrderPlaced{\n", "require.Equal(t, events.OrderPlaced{\nCurrency: \"EUR\",\n", 1)
	r.mustPass()
}

// TestChangedPart changes a type that two payload types are made of.
func TestChangedPart(t *testing.T) {
	r := setup(t)
	r.replace(ordersFile, "SKU string `json:\"sku\"`", "Article string `json:\"article\"`", 1)
	r.replace(ordersTest, "SKU: ", "Article: ", -1)
	out := r.version("orders.placed")
	require.Contains(t, out, "Items has changed too and is kept as ItemsV2.\nItem has changed too and is kept as ItemV2.\n")
	require.Contains(t, out, "- Items is still Items, but that has changed: convert it from what was kept\n")
	require.Contains(t, out, "Items is part of orders.cancelled as well: if that needs a new version too, go run ./scaffold version orders.cancelled.\n")
	orders := r.read(ordersFile)
	require.Contains(t, orders, "// ItemsV2 is the Items of OrderPlacedV2.\n//\n// Items are the lines")
	require.Contains(t, orders, "type ItemsV2 []ItemV2\n")
	require.Contains(t, orders, "\tItems ItemsV2 `json:\"items\" jsonschema:\"minItems=1\"`\n")
	require.Contains(t, orders, "\t\tItems: ItemsV2{{SKU: old.SKU,", "the upcaster from version 1 makes version 2")
	r.mustFail("Items is empty: set it in an upcaster from version 2 on")
	r.replace(ordersFile, "\treturn OrderPlaced{\n", convert+"\treturn OrderPlaced{\nItems: items,\n", 1)

	out = r.version("orders.cancelled")
	require.Contains(t, out, "Items has changed too and is kept as ItemsV1.\n")
	require.NotContains(t, out, "orders.placed as well")
	r.replace(ordersFile, "\treturn OrderCancelled{\n", convert+"\treturn OrderCancelled{\nItems: items,\n", 1)
	r.mustPass()
}

const convert = `
	var items Items
	for _, item := range old.Items {
		items = append(items, Item{Article: item.SKU, Quantity: item.Quantity, UnitPrice: item.UnitPrice})
	}
`

func TestFirstVersion(t *testing.T) {
	r := setup(t)
	require.Contains(t, r.version("orders.cancelled"), "orders.cancelled has version 2 now.")
	require.Contains(t, r.read(catalogFile), `
			Name: "orders.cancelled", Version: 2, Topic: "orders", Owner: "orders team",
			Key:       func(e OrderCancelled) string { return e.OrderID },
			Upcasters: []envelope.Upcaster{envelope.Upcast(1, OrderCancelledV1.upcast)},
		},
`)
	r.mustPass()
}

// TestSeveral goes on for three versions, the last one with a part changed that
// all before had.
func TestSeveral(t *testing.T) {
	r := setup(t)
	r.replace(ordersFile, "Customer string `json:\"customer\"`", "Buyer string `json:\"buyer\"`", 1)
	r.replace(ordersTest, "Customer: ", "Buyer: ", -1)
	r.version("orders.placed")
	r.replace(ordersFile, "return OrderPlaced{\n", "return OrderPlaced{\nBuyer: old.Customer,\n", 1)
	require.Equal(t, result{code: exitFailed, err: `scaffold: event type "orders.placed" has version 3 here and version 2 in HEAD: ` +
		"if nobody publishes version 3 yet, change OrderPlaced in place; otherwise commit it first, or name the commit that has it with --from\n"},
		r.run("version", "orders.placed"))
	r.commit()

	r.version("orders.placed")
	require.Contains(t, r.read(ordersFile), "func (old OrderPlacedV2) upcast() (OrderPlacedV3, error)")
	r.mustPass()
	r.commit()

	r.replace(ordersFile, "SKU string `json:\"sku\"`", "Article string `json:\"article\"`", 1)
	r.replace(ordersTest, "SKU: ", "Article: ", -1)
	r.version("orders.placed")
	require.Equal(t, 3, strings.Count(r.read(ordersFile), "Items ItemsV4 `json"), "versions 2, 3 and 4")
	r.mustFail("Items is empty: set it in an upcaster from version 2 on")
	r.replace(ordersFile, "\treturn OrderPlaced{\n", convert+"\treturn OrderPlaced{\nItems: items,\n", 1)
	r.mustPass()
	require.Contains(t, r.read(catalogFile), "Version: 5")
}

// TestRenamedType changes what the payload type is called and nothing else.
func TestRenamedType(t *testing.T) {
	r := setup(t)
	for _, name := range []string{catalogFile, ordersFile, ordersTest} {
		r.write(name, regexp.MustCompile(`\bOrderPlaced\b`).ReplaceAllString(r.read(name), "OrderAccepted"))
	}
	require.Contains(t, r.version("orders.placed"), "Version 2 of OrderAccepted, from HEAD, is OrderAcceptedV2.")
	require.Contains(t, r.read(ordersFile), "func (old OrderPlacedV1) upcast() (OrderAcceptedV2, error)")
	r.mustPass()
}

// TestPartOfARepository has the service in a directory of a larger repository.
func TestPartOfARepository(t *testing.T) {
	r := withoutGit(t)
	whole := repository{t, filepath.Dir(r.dir)}
	whole.git("init", "--quiet")
	r.commit()
	r.replace(ordersFile, "Customer string `json:\"customer\"`", "Buyer string `json:\"buyer\"`", 1)
	require.Contains(t, r.version("orders.placed"), "- Customer string is gone")
}

// TestFrom takes the payload type from a commit that is not the last one.
func TestFrom(t *testing.T) {
	r := setup(t)
	r.replace(ordersFile, "Customer string `json:\"customer\"`", "Buyer string `json:\"buyer\"`", 1)
	r.replace(ordersTest, "Customer: ", "Buyer: ", -1)
	r.commit()
	require.Contains(t, r.version("orders.placed", "--from", "HEAD~1"), "Version 2 of OrderPlaced, from HEAD~1, is OrderPlacedV2.")
	r.replace(ordersFile, "return OrderPlaced{\n", "return OrderPlaced{\nBuyer: old.Customer,\n", 1)
	r.mustPass()
}

// TestWithoutGit keeps what is there, however often.
func TestWithoutGit(t *testing.T) {
	r := withoutGit(t)
	require.Contains(t, r.version("orders.placed"), "Version 2 of OrderPlaced, from the files as they are, is OrderPlacedV2.")
	require.Contains(t, r.version("orders.placed"), "Version 3 of OrderPlaced, from the files as they are, is OrderPlacedV3.")
	r.mustPass()
	require.Contains(t, r.run("version", "orders.placed", "--from", "HEAD").err, "scaffold: git rev-parse: fatal: not a git repository")
}

// TestNothingCommitted is a repository that has just been made.
func TestNothingCommitted(t *testing.T) {
	r := withoutGit(t)
	r.git("init", "--quiet")
	require.Contains(t, r.version("orders.placed"), "from the files as they are")
}

func TestChangedUpcaster(t *testing.T) {
	r := setup(t)
	r.replace(ordersFile, "Email: old.Email, PlacedAt", "Email: old.Email + \"\", PlacedAt", 1)
	require.Contains(t, r.version("orders.placed"), "\nOrderPlacedV1.upcast differs from the one in HEAD: see to it that it makes OrderPlacedV2 now.\n")
	r.mustPass()
}

func TestErrors(t *testing.T) {
	t.Parallel()
	const placed = "envelope.Type[OrderPlaced]{"
	for name, c := range map[string]struct {
		file, old, new string // what is changed in the tree
		args           string
		code           int
		err            string
	}{
		"no command": {code: exitUsage, err: "expected \"version\"\nRun `scaffold --help` for the commands.\n"},
		"no type":    {args: "version", code: exitUsage, err: "expected \"<event-type>\"\nRun `scaffold --help` for the commands.\n"},
		"unknown type": {args: "version orders.eaten", code: exitNotFound,
			err: `event type "orders.eaten": not found in internal/events: there are orders.cancelled, orders.placed` + "\n"},
		"no types": {file: catalogFile, old: `Name: "`, new: `Name: "" + "`, args: "version orders.placed", code: exitNotFound,
			err: `event type "orders.placed": not found in internal/events: there is none at all: declare it as an envelope.Type in the catalog, its Name in quotes` + "\n"},
		"not committed": {file: catalogFile, old: `"orders.placed"`, new: `"orders.made"`, args: "version orders.made",
			err: `event type "orders.made" is not in HEAD: if nobody publishes it yet, change OrderPlaced in place; otherwise commit it first, or name the commit that has it with --from` + "\n"},
		"unknown commit":       {args: "version orders.placed --from nowhere", err: `--from "nowhere": no such commit: name a commit, branch or tag` + "\n"},
		"a commit like a flag": {args: "version orders.placed --from=--all", err: `--from "--all": no such commit: name a commit, branch or tag` + "\n"},
		"not a struct": {file: catalogFile, old: placed, new: "envelope.Type[Items]{", args: "version orders.placed",
			err: `internal/events/catalog.go:LINE: event type "orders.placed": its payload Items is not an exported struct declared in internal/events: declare one there` + "\n"},
		"not of the package": {file: catalogFile, old: placed, new: "envelope.Type[time.Time]{", args: "version orders.placed",
			err: `internal/events/catalog.go:LINE: event type "orders.placed": its payload time.Time is not an exported struct declared in internal/events: declare one there` + "\n"},
		"not a number": {file: catalogFile, old: "Version: 2", new: "Version: two", args: "version orders.placed",
			err: `internal/events/catalog.go:LINE: event type "orders.placed": its Version is not a number from 1 in the source: write one` + "\n"},
		"upcasters elsewhere": {file: catalogFile, old: "[]envelope.Upcaster{envelope.Upcast(1, OrderPlacedV1.upcast)}", new: "upcasters", args: "version orders.placed",
			err: `internal/events/catalog.go:LINE: event type "orders.placed": its Upcasters are upcasters: write them as a list, []envelope.Upcaster{…}` + "\n"},
		"unknown upcaster": {file: catalogFile, old: "OrderPlacedV1.upcast", new: "OrderPlacedV1.convert", args: "version orders.placed",
			err: `internal/events/catalog.go:LINE: event type "orders.placed": envelope.Upcast(1, OrderPlacedV1.convert) is not an upcaster that can be followed: write it as envelope.Upcast(<version>, <Type>.upcast)` + "\n"},
		"a gap": {file: catalogFile, old: "Upcast(1,", new: "Upcast(7,", args: "version orders.placed",
			err: `internal/events/catalog.go:LINE: event type "orders.placed" has no upcaster from version 1: add it first` + "\n"},
		"kept already": {file: ordersFile, old: "type OrderCancelled ", new: "type OrderPlacedV2 ", args: "version orders.placed",
			err: "internal/events/orders.go:79: OrderPlacedV2 exists already: rename it, it is what version 2 is to be called\n"},
		"not Go": {file: ordersFile, old: "type Items []Item", new: "type Items []Item}", args: "version orders.placed",
			err: "internal/events/orders.go:22:18: expected declaration, found '}': correct it first\n"},
		"no module": {file: "go.mod", old: "module ", new: "// ", args: "version orders.placed", err: "go.mod has no module line: add one\n"},
		"a test of that name": {file: "internal/events/orders_placed_v2_test.go", args: "version orders.placed",
			err: "internal/events/orders_placed_v2_test.go exists already: rename or remove it\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := setup(t)
			switch {
			case c.old != "":
				r.replace(c.file, c.old, c.new, -1)
			case c.file != "":
				r.write(c.file, "package events_test\n")
			}
			before := r.snapshot()
			if c.code == 0 {
				c.code = exitFailed
			}
			got := r.run(strings.Fields(c.args)...)
			got.err = catalogLine.ReplaceAllString(got.err, "catalog.go:LINE:")
			require.Equal(t, result{code: c.code, err: "scaffold: " + c.err}, got)
			require.Equal(t, before, r.snapshot())
		})
	}
}

// catalogLine is where in the catalog a mistake is.
var catalogLine = regexp.MustCompile(`catalog\.go:\d+:`)

// snapshot is all that the command may write to.
func (r repository) snapshot() map[string]string {
	all := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(r.dir, eventsDir))
	require.NoError(r.t, err)
	for _, e := range entries {
		if !e.IsDir() {
			all[e.Name()] = r.read(filepath.Join(eventsDir, e.Name()))
		}
	}
	return all
}

// TestCommitThatIsNotGo: what was committed can't be corrected.
func TestCommitThatIsNotGo(t *testing.T) {
	r := setup(t)
	orders := r.read(ordersFile)
	r.write(ordersFile, "package")
	r.commit()
	r.write(ordersFile, orders)
	require.Equal(t, result{code: exitFailed, err: "scaffold: HEAD:internal/events/orders.go:1:8: expected 'IDENT', found 'EOF': name another commit with --from\n"},
		r.run("version", "orders.placed"))
}

func TestElsewhere(t *testing.T) {
	t.Parallel()
	got := repository{t, t.TempDir()}.run("version", "orders.placed")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "scaffold: there is no go.mod here: run this in the root of the service's repository")
}

func TestHelp(t *testing.T) {
	t.Parallel()
	got := repository{t, t.TempDir()}.run("version", "--help")
	require.Equal(t, exitDone, got.code)
	require.Contains(t, got.out, "Change the payload type first, then run this, then commit.")
}
