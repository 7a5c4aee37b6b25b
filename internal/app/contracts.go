package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/consumer/topology"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/envelope/contract"
	"example.com/millwright/internal/infra/envelope/registry"
	"example.com/millwright/internal/infra/envelope/schema"
)

// provideSchemas reads the committed schemas. It refuses a type without one, or
// with another one.
func provideSchemas(catalog *envelope.Catalog) (*schema.Set, error) {
	return schema.NewSet(catalog, events.Schemas())
}

// The values of VALIDATE.
const (
	validateOn   = "on"
	validateOff  = "off"
	validateAuto = "auto"
)

// validatesPublished reports whether payloads are checked before they are stored.
func (c Config) validatesPublished(dialect database.Dialect) bool {
	return c.ValidatePayloads == validateOn || c.ValidatePayloads == validateAuto && isDevelopment(dialect)
}

// isDevelopment takes SQLite for development and tests.
func isDevelopment(dialect database.Dialect) bool { return dialect == database.SQLite }

// provideContract describes the service's events.
func provideContract(c Config, catalog *envelope.Catalog, set *schema.Set, graph topology.Graph) (contract.Service, error) {
	return contract.Describe(c.ServiceName, buildVersion(), c.Broker, catalog, set, graph)
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// Registry is the schema registry, and what it should know.
type Registry struct {
	// Client is nil if there is no registry.
	Client  *registry.Registry
	Schemas []registry.Schema
}

func provideRegistry(c Config, catalog *envelope.Catalog, set *schema.Set) (r Registry, err error) {
	if c.SchemaRegistryURL != "" {
		r.Client, err = registry.New(registry.Config{
			URL: c.SchemaRegistryURL, Subjects: registry.Strategy(c.SchemaRegistrySubjects), Required: c.SchemaRegistryRequired,
		})
	}
	for _, d := range set.Documents() {
		if entry := catalog.Find(d.Type); entry != nil {
			r.Schemas = append(r.Schemas, registry.Schema{
				EventType: d.Type, Version: d.Version, Topic: d.Topic, Text: d.JSON(), Compatibility: entry.Compatibility,
			})
		}
	}
	return r, err
}

// checkStart asks the registry, if there is one, whether it knows the schemas.
func (r Registry) checkStart(ctx context.Context, logger *slog.Logger) error {
	if r.Client == nil {
		return nil
	}
	return r.Client.CheckStart(ctx, logger, r.Schemas...)
}

// CheckLive decodes about sample rows of each table in which events are stored,
// and reports at most unreadable of those that this build can't handle.
func (t *Tools) CheckLive(ctx context.Context, sample, unreadable int) (contract.Live, error) {
	tables := append(t.Outbox.Tables(), t.DeadLetters.Table())
	if t.Storage.queue != nil {
		tables = append([]broker.Table{sqlqueue.Table(t.Storage.queue)}, tables...)
	}
	return contract.CheckLive(ctx, t.Catalog, sample, unreadable, tables...)
}

// GenerateSchemas writes the schemas of the payload types whose Go files are in
// dir to the directory schemas below it, and returns the files that it changed.
func GenerateSchemas(dir string) (changed []string, err error) {
	catalog, err := events.Catalog()
	if err != nil {
		return nil, err
	}
	documents, err := schema.Generate(catalog, dir)
	if err != nil {
		return nil, err
	}
	for _, d := range documents {
		file := filepath.Join(dir, "schemas", filepath.FromSlash(d.Path()))
		if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, d.JSON()) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return changed, fmt.Errorf("write the schema of %s: %w", d, err)
		}
		if err := os.WriteFile(file, d.JSON(), 0o644); err != nil {
			return changed, fmt.Errorf("write the schema of %s: %w", d, err)
		}
		changed = append(changed, file)
	}
	return changed, nil
}

// ErrStale is returned by CheckContracts where the committed schemas are not what
// the types say.
var ErrStale = errors.New("the committed schemas are not up to date: run `go generate ./...`")

// CheckContracts compares the schemas in dir, where the payload types are, with
// what they were: in a directory of schemas or at a commit, as against says.
func (d *Declarations) CheckContracts(dir, against string) ([]contract.Verdict, error) {
	schemas := filepath.Join(dir, "schemas")
	committed, err := schema.Read(os.DirFS(schemas))
	if err != nil {
		return nil, err
	}
	if len(committed) == 0 {
		return nil, fmt.Errorf("there are no schemas in %s: run this in the repository's root, or say with --dir where the payload types are", schemas)
	}
	generated, err := schema.Generate(d.Catalog, dir)
	if err != nil {
		return nil, err
	}
	if stale := contract.Stale(committed, generated); len(stale) > 0 {
		return nil, fmt.Errorf("%s: %w", strings.Join(stale, ", "), ErrStale)
	}
	var history contract.History = contract.Git{Dir: schemas, Ref: against}
	if info, err := os.Stat(against); err == nil && info.IsDir() {
		last, err := schema.Read(os.DirFS(against))
		if err != nil {
			return nil, err
		}
		history = contract.Fixed(last)
	}
	return contract.Check(d.Catalog, committed, history, d.Topology)
}

// Check asks the registry about all schemas; without one there is no verdict.
func (r Registry) Check(ctx context.Context) ([]registry.Verdict, error) {
	if r.Client == nil {
		return nil, nil
	}
	return r.Client.Check(ctx, r.Schemas...)
}
