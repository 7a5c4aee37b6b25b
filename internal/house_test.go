// Package internal_test holds the rules of the house: which package may know
// which. They are what lets the machinery (internal/infra) be replaced whole,
// and a broker be removed by removing its folder.
package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/handlers"
	"example.com/millwright/internal/infra/consumer"
)

const module = "example.com/millwright/"

// Rooms of the house, as paths in the repository.
const (
	roomApp      = "internal/app"
	roomEvents   = "internal/events"
	roomHandlers = "internal/handlers"
	roomInfra    = "internal/infra"
	roomBrokers  = "internal/infra/broker"
)

// source is a Go file as the rules see it.
type source struct {
	path      string   // in the repository
	dir       string   // its package, as a path in the repository
	imports   []string // this module's own as paths in the repository
	lines     int
	generated bool
	ast       *ast.File
}

func (s source) test() bool              { return strings.HasSuffix(s.path, "_test.go") }
func (s source) in(room string) bool     { return within(s.dir, room) }
func within(dir, room string) bool       { return dir == room || strings.HasPrefix(dir, room+"/") }
func imports(of string, lib string) bool { return within(of, lib) }

// testSupport are packages that only tests import.
func (s source) testSupport() bool {
	return strings.HasSuffix(s.dir, "test") || s.in(roomInfra+"/testkit")
}

// rule returns what is wrong with a file: empty if nothing is.
type rule struct {
	name string
	// because is told with every violation.
	because string
	check   func(source) []string
}

var rules = []rule{
	{
		"infra knows neither app, events, handlers nor cmd",
		"the machinery is replaced whole when a newer template comes out",
		func(s source) (wrong []string) {
			for _, i := range s.imports {
				if s.in(roomInfra) && (within(i, roomApp) || within(i, roomEvents) || within(i, roomHandlers) || within(i, "cmd")) {
					wrong = append(wrong, "imports "+i)
				}
			}
			return wrong
		},
	},
	{
		"infra names nothing of this service",
		"the machinery works for any service: take what it needs to know as a parameter",
		func(s source) (wrong []string) {
			if !s.in(roomInfra) || s.test() {
				return nil
			}
			ast.Inspect(s.ast, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.Ident:
					if slices.ContainsFunc(ownTypes, func(name string) bool { return strings.EqualFold(name, n.Name) }) {
						wrong = append(wrong, "the identifier "+n.Name)
					}
				case *ast.BasicLit:
					if text, err := strconv.Unquote(n.Value); err == nil && slices.Contains(ownNames(), text) {
						wrong = append(wrong, "the name "+n.Value)
					}
				}
				return true
			})
			return wrong
		},
	},
	{
		"handlers know consumer, database, envelope and retention, and nothing else of infra",
		"a handler must not depend on how its events travel; publish through the Publisher interface",
		func(s source) (wrong []string) {
			if !s.in(roomHandlers) || s.test() {
				return nil
			}
			known := []string{roomInfra + "/consumer", roomInfra + "/database", roomInfra + "/envelope", roomInfra + "/retention"}
			for _, i := range s.imports {
				if within(i, roomInfra) && !slices.Contains(known, i) || within(i, roomApp) {
					wrong = append(wrong, "imports "+i)
				}
			}
			ast.Inspect(s.ast, func(n ast.Node) bool {
				if selector, ok := n.(*ast.SelectorExpr); ok {
					if of, ok := selector.X.(*ast.Ident); ok && of.Name == "consumer" && strings.HasSuffix(selector.Sel.Name, "Router") {
						wrong = append(wrong, "uses consumer."+selector.Sel.Name)
					}
				}
				return true
			})
			return wrong
		},
	},
	{
		"events know envelope, and nothing else of this module",
		"other services copy this package to read the events",
		func(s source) (wrong []string) {
			for _, i := range s.imports {
				if s.in(roomEvents) && !s.test() && i != roomInfra+"/envelope" && (strings.HasPrefix(i, "internal/") || strings.HasPrefix(i, "cmd/")) {
					wrong = append(wrong, "imports "+i)
				}
			}
			return wrong
		},
	},
	{
		"a client library is imported in one package only",
		"removing a broker or a database is removing a folder and a line in internal/app",
		func(s source) (wrong []string) {
			if s.test() || s.testSupport() {
				return nil
			}
			homes := map[string]string{
				"github.com/IBM/sarama":                          roomBrokers + "/kafka",
				"github.com/ThreeDotsLabs/watermill-kafka":       roomBrokers + "/kafka",
				"github.com/twmb/franz-go/pkg/kgo":               roomBrokers + "/kafka",
				"github.com/twmb/franz-go/pkg/kmsg":              roomBrokers + "/kafka",
				"github.com/twmb/franz-go/pkg/sr":                roomInfra + "/envelope/registry",
				"github.com/ThreeDotsLabs/watermill-sql":         roomInfra + "/outbox",
				"github.com/jackc/pgx":                           roomInfra + "/database",
				"modernc.org/sqlite":                             roomInfra + "/database",
				"github.com/pressly/goose":                       roomInfra + "/database",
				"github.com/alecthomas/kong":                     "cmd/service",
				"github.com/wneessen/go-mail":                    roomHandlers,
				"github.com/prometheus/client_golang/prometheus": roomInfra + "/telemetry",
			}
			for _, i := range s.imports {
				for library, home := range homes {
					// app hands the registry of metrics around, and scaffold is a command line too.
					excepted := s.dir == roomApp && home == roomInfra+"/telemetry" || s.dir == "scaffold" && home == "cmd/service"
					if imports(i, library) && s.dir != home && !excepted {
						wrong = append(wrong, "imports "+i+", which belongs into "+home)
					}
				}
			}
			return wrong
		},
	},
	{
		"only app composes",
		"what the service is made of is said in one place, and generated by Wire there",
		func(s source) (wrong []string) {
			if s.test() || s.testSupport() || s.in(roomApp) {
				return nil
			}
			// What cmd/service prints.
			printed := []string{
				roomInfra + "/consumer/topology", roomInfra + "/deadletter", roomInfra + "/envelope/contract", roomInfra + "/envelope/registry",
				roomInfra + "/outbox", roomInfra + "/telemetry",
			}
			for _, i := range s.imports {
				switch {
				case imports(i, "github.com/google/wire") && path.Base(s.path) != "wire.go":
					wrong = append(wrong, "imports Wire outside a wire.go")
				case strings.HasPrefix(i, roomBrokers+"/"):
					wrong = append(wrong, "imports "+i)
				case within(s.dir, "cmd") && within(i, roomInfra) && !slices.Contains(printed, i):
					wrong = append(wrong, "imports "+i)
				case within(s.dir, "cmd") && (within(i, roomHandlers) || within(i, roomEvents)):
					wrong = append(wrong, "imports "+i)
				}
			}
			return wrong
		},
	},
	{
		"test support stays out of the service",
		"it imports testing",
		func(s source) (wrong []string) {
			for _, i := range s.imports {
				if !s.test() && !s.testSupport() && (source{dir: i}).testSupport() && strings.HasPrefix(i, "internal/") {
					wrong = append(wrong, "imports "+i)
				}
			}
			return wrong
		},
	},
	{
		"files are short",
		"one concept a file: split it",
		func(s source) []string {
			most := 400
			if s.test() {
				most = 600
			}
			if s.generated || s.lines <= most {
				return nil
			}
			return []string{"has " + strconv.Itoa(s.lines) + " lines, at most " + strconv.Itoa(most)}
		},
	},
}

// ownTypes and ownNames are what the machinery must not know: the payload types
// of this service, and the names of its events, topics and consumers.
var ownTypes = payloadTypes()

func payloadTypes() []string {
	catalog, err := events.Catalog()
	if err != nil {
		panic(err)
	}
	var names []string
	for _, t := range catalog.Types() {
		names = append(names, t.Payload.Name())
	}
	return names
}

func ownNames() []string {
	catalog, err := events.Catalog()
	if err != nil {
		panic(err)
	}
	names := catalog.Topics()
	for _, t := range catalog.Types() {
		names = append(names, t.Name)
	}
	// However many handlers it takes: only the names are looked at.
	list := reflect.ValueOf(handlers.Consumers)
	none := make([]reflect.Value, list.Type().NumIn())
	for i := range none {
		none[i] = reflect.Zero(list.Type().In(i))
	}
	for _, c := range list.Call(none)[0].Interface().([]consumer.Consumer) {
		names = append(names, c.Name())
	}
	for _, p := range handlers.Producers() {
		names = append(names, p.Name())
	}
	return names
}

// violations applies the rules to the files, and the one rule that is about
// packages.
func violations(files []source) []string {
	var found []string
	for _, s := range files {
		for _, r := range rules {
			for _, wrong := range r.check(s) {
				found = append(found, s.path+": "+wrong+"\n\trule: "+r.name+" ("+r.because+")")
			}
		}
	}
	return append(found, undocumented(files)...)
}

// undocumented lists the packages without a package comment.
func undocumented(files []source) []string {
	documented := map[string]bool{}
	for _, s := range files {
		if !s.test() {
			documented[s.dir] = documented[s.dir] || s.ast.Doc.Text() != ""
		}
	}
	var found []string
	for dir, ok := range documented {
		if !ok {
			found = append(found, dir+": has no package comment\n\trule: every package says what it is for")
		}
	}
	slices.Sort(found)
	return found
}

func TestHouseRules(t *testing.T) {
	t.Parallel()
	files := readAll(t, "..")
	require.Greater(t, len(files), 50, "the walk doesn't see the repository")
	for _, violation := range violations(files) {
		t.Error(violation)
	}
}

// TestHouseRulesCanFail plants one violation of each kind.
func TestHouseRulesCanFail(t *testing.T) {
	t.Parallel()
	for name, planted := range map[string]struct{ path, code, want string }{
		"infra imports events":      {"internal/infra/outbox/x.go", `import "example.com/millwright/internal/events"`, "imports internal/events"},
		"infra's test imports app":  {"internal/infra/outbox/x_test.go", `import "example.com/millwright/internal/app"`, "imports internal/app"},
		"infra names a payload":     {"internal/infra/inbox/x.go", `type orderPlaced struct{}`, "the identifier orderPlaced"},
		"infra names an event type": {"internal/infra/inbox/x.go", `const x = "orders.placed"`, `the name "orders.placed"`},
		"infra names a consumer":    {"internal/infra/inbox/x.go", `const x = "reserve-stock"`, `the name "reserve-stock"`},
		"infra names a topic":       {"internal/infra/inbox/x.go", "const x = `orders`", "the name `orders`"},
		"handler imports the outbox": {"internal/handlers/x.go", `import "example.com/millwright/internal/infra/outbox"`,
			"imports internal/infra/outbox"},
		"handler uses the router": {"internal/handlers/x.go", "import \"example.com/millwright/internal/infra/consumer\"\nvar x *consumer.Router",
			"uses consumer.Router"},
		"handler imports a broker": {"internal/handlers/x.go", `import "example.com/millwright/internal/infra/broker/kafka"`, "broker/kafka"},
		"handler imports Wire":     {"internal/handlers/orders.go", `import "github.com/google/wire"`, "imports Wire outside a wire.go"},
		"events import a database": {"internal/events/x.go", `import "example.com/millwright/internal/infra/database"`, "imports internal/infra/database"},
		"sarama outside its broker": {"internal/infra/outbox/x.go", `import "github.com/IBM/sarama"`,
			"imports github.com/IBM/sarama, which belongs into internal/infra/broker/kafka"},
		"pgx outside database":      {"internal/infra/outbox/x.go", `import "github.com/jackc/pgx/v5/pgconn"`, "belongs into internal/infra/database"},
		"sr outside registry":       {"internal/app/x.go", `import "github.com/twmb/franz-go/pkg/sr"`, "belongs into internal/infra/envelope/registry"},
		"infra composes":            {"internal/infra/consumer/x.go", `import "example.com/millwright/internal/infra/broker/sqlqueue"`, "imports internal/infra/broker/sqlqueue"},
		"cmd composes":              {"cmd/service/x.go", `import "example.com/millwright/internal/infra/inbox"`, "imports internal/infra/inbox"},
		"test support in use":       {"internal/app/x.go", `import "example.com/millwright/internal/infra/testkit"`, "imports internal/infra/testkit"},
		"a long file":               {"internal/app/x.go", strings.Repeat("\n", 401), "has 402 lines, at most 400"},
		"a package without comment": {"internal/app/x.go", "", "internal/app: has no package comment"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := parse(t, planted.path, "package x\n"+planted.code)
			require.Contains(t, strings.Join(violations([]source{file}), "\n"), planted.want)
		})
	}
}

// TestHouseRulesLetTheRestBe makes sure that the rules don't forbid everything.
func TestHouseRulesLetTheRestBe(t *testing.T) {
	t.Parallel()
	for _, allowed := range []struct{ path, code string }{
		{"internal/infra/outbox/x.go", `import "example.com/millwright/internal/infra/broker"`},
		{"internal/infra/broker/kafka/x.go", `import "github.com/IBM/sarama"`},
		{"internal/infra/consumer/x_test.go", `import "example.com/millwright/internal/infra/broker/sqlqueue"`},
		{"internal/handlers/x.go", `import "example.com/millwright/internal/infra/consumer"`},
		{"internal/handlers/wire.go", `import "github.com/google/wire"`},
		{"internal/app/x.go", `import "example.com/millwright/internal/infra/broker/kafka"`},
		{"internal/infra/broker/x.go", `const order = "in order, such as orders.placed"`},
	} {
		file := parse(t, allowed.path, "// Package x is for a test.\npackage x\n"+allowed.code)
		require.Empty(t, violations([]source{file}), allowed.path)
	}
}

// readAll parses all Go files under root.
func readAll(t *testing.T, root string) []source {
	t.Helper()
	var files []source
	require.NoError(t, filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := entry.Name(); entry.IsDir() && base != ".." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "data") {
			return fs.SkipDir
		}
		if entry.IsDir() && name != root {
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
				return fs.SkipDir // a module of its own
			}
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		code, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		files = append(files, parse(t, filepath.ToSlash(relative), string(code)))
		return nil
	}))
	return files
}

func parse(t *testing.T, name, code string) source {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, code, parser.ParseComments)
	require.NoError(t, err)
	s := source{path: name, dir: path.Dir(name), lines: strings.Count(strings.TrimSuffix(code, "\n"), "\n") + 1, generated: ast.IsGenerated(file), ast: file}
	for _, i := range file.Imports {
		of, err := strconv.Unquote(i.Path.Value)
		require.NoError(t, err)
		s.imports = append(s.imports, strings.TrimPrefix(of, module))
	}
	return s
}
