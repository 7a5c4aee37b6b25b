package envelope

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// Type declares an event type whose current payload is T.
type Type[T any] struct {
	// Name is the type attribute, "<topic>.<past participle>": orders.placed.
	Name string
	// Version is the current schema version, from 1. Older ones need Upcasters.
	Version int
	// Topic is the stream it travels on. The types of one aggregate share a
	// topic, so that their order is kept.
	Topic string
	// Key returns the partition key: events of the same key stay in order.
	Key func(T) string
	// Owner says whom to ask.
	Owner string
	// Compatibility says how the payload may change without a new version, in the
	// words of Confluent's registry: BACKWARD (the default: this build reads what
	// earlier ones wrote), FORWARD (earlier ones read what this one writes), FULL,
	// each with _TRANSITIVE for all earlier schemas instead of the last, or NONE.
	Compatibility string
	// Upcasters turn the payloads of older versions into T, each by one version.
	Upcasters []Upcaster
	// Downcasters are for as long as there are consumers that don't know Version yet:
	// each event is published in these older versions as well.
	Downcasters []Downcaster
}

// Upcaster turns the payload of one version into that of the next.
type Upcaster struct {
	version  int
	from, to reflect.Type
	decode   func([]byte) (any, error)
	upcast   func(any) (any, error)
}

// Upcast declares how a payload of the given version, a From, becomes one of the
// next version, a To.
func Upcast[From, To any](version int, upcast func(From) (To, error)) Upcaster {
	return Upcaster{
		version: version,
		from:    reflect.TypeFor[From](),
		to:      reflect.TypeFor[To](),
		decode:  func(data []byte) (any, error) { return decode[From](data) },
		upcast:  func(old any) (any, error) { return upcast(old.(From)) },
	}
}

// Downcaster turns the payload of the current version into that of an older one.
type Downcaster struct {
	version  int
	from, to reflect.Type
	downcast func(any) (any, error)
}

// Downcast declares how a payload of the current version, a From, becomes one of
// an older version, a To. The events in all versions have one ID and so are one
// event, the newest version first: a consumer that can read it handles it and drops
// the others as duplicates, one that can't waits for what it can read. A handler
// thus handles one of them, whatever build it is of.
func Downcast[From, To any](version int, downcast func(From) (To, error)) Downcaster {
	return Downcaster{
		version: version, from: reflect.TypeFor[From](), to: reflect.TypeFor[To](),
		downcast: func(current any) (any, error) { return downcast(current.(From)) },
	}
}

// Entry is an event type in the catalog.
type Entry struct {
	Name, Topic, Owner, Compatibility string
	Version                           int
	// Payload is the Go type of the current version.
	Payload reflect.Type

	key         func(any) string
	decode      func([]byte) (any, error)
	upcasters   []Upcaster   // oldest first, without gaps, up to Version
	downcasters []Downcaster // newest first
}

// Key returns the partition key of a payload of the entry's type.
func (e *Entry) Key(payload any) string { return e.key(payload) }

// OldestVersion is the lowest version that can still be read.
func (e *Entry) OldestVersion() int { return e.Version - len(e.upcasters) }

// PayloadOf returns the Go type of a version from OldestVersion to Version.
func (e *Entry) PayloadOf(version int) reflect.Type {
	if i := version - e.OldestVersion(); i < len(e.upcasters) {
		return e.upcasters[i].from
	}
	return e.Payload
}

// Upcast turns a payload of PayloadOf(version) into one of the current version.
func (e *Entry) Upcast(version int, payload any) (any, error) {
	var err error
	for _, u := range e.upcasters[version-e.OldestVersion():] {
		if payload, err = u.upcast(payload); err != nil {
			return nil, fmt.Errorf("the upcaster from version %d refuses it: %w", u.version, err)
		}
	}
	return payload, nil
}

// Versioned is a payload of some version.
type Versioned struct {
	Version int
	// FallbackVersion is the oldest version that there is beside it, 0 for itself.
	FallbackVersion int
	Payload         any
}

// Downcast returns what to publish for a payload of the current version: itself,
// and then the older versions that the type has Downcasters for.
func (e *Entry) Downcast(payload any) ([]Versioned, error) {
	all := []Versioned{{Version: e.Version, Payload: payload}}
	for _, d := range e.downcasters {
		older, err := d.downcast(payload)
		if err != nil {
			return nil, fmt.Errorf("the downcaster of %s to version %d refuses it: %w", e.Name, d.version, err)
		}
		all = append(all, Versioned{Version: d.version, Payload: older})
	}
	last := len(all) - 1
	for i := range all[:last] {
		all[i].FallbackVersion = all[last].Version
	}
	return all, nil
}

// Declaration is a Type of any payload, as NewCatalog takes them.
type Declaration interface{ entry() (*Entry, error) }

// nameForm is what a type's and a topic's name may look like: every broker
// takes it.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*$`)

func (t Type[T]) entry() (*Entry, error) {
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("catalog: event type %q: "+format, append([]any{t.Name}, args...)...))
	}
	if !nameForm.MatchString(t.Name) {
		problem("Name must be lower-case words joined by dots, such as orders.placed")
	}
	if !nameForm.MatchString(t.Topic) {
		problem("Topic %q must be lower-case words joined by dots, such as orders", t.Topic)
	}
	if t.Version < 1 {
		problem("Version is %d, want 1 or more", t.Version)
	}
	if t.Key == nil {
		problem("Key is missing: order is kept per key, so every event needs one")
	}
	if t.Owner == "" {
		problem("Owner is missing: whom does one ask about it?")
	}
	upcasters := slices.SortedFunc(slices.Values(t.Upcasters), func(a, b Upcaster) int { return a.version - b.version })
	next := reflect.TypeFor[T]()
	for i := len(upcasters) - 1; i >= 0; i-- {
		u, want := upcasters[i], t.Version-(len(upcasters)-i)
		if want < 1 {
			problem("%d upcasters are too many: only %d versions come before version %d", len(upcasters), max(t.Version-1, 0), t.Version)
			break
		}
		if u.version != want {
			problem("the upcasters must lead to version %d without a gap: found one from version %d where %d is due", t.Version, u.version, want)
			break
		}
		if u.to != next {
			problem("the upcaster from version %d returns %s, but version %d is %s", u.version, u.to, u.version+1, next)
		}
		next = u.from
	}
	downcasters := slices.SortedFunc(slices.Values(t.Downcasters), func(a, b Downcaster) int { return b.version - a.version })
	e := &Entry{
		Name: t.Name, Topic: t.Topic, Owner: t.Owner, Compatibility: cmp.Or(t.Compatibility, "BACKWARD"), Version: t.Version, Payload: reflect.TypeFor[T](),
		key:       func(payload any) string { return t.Key(payload.(T)) },
		decode:    func(data []byte) (any, error) { return decode[T](data) },
		upcasters: upcasters, downcasters: downcasters,
	}
	for i, d := range downcasters {
		switch {
		case d.version < max(e.OldestVersion(), 1) || d.version >= t.Version:
			problem("a downcaster leads to version %d: want one of the older versions that have upcasters", d.version)
		case i > 0 && downcasters[i-1].version == d.version:
			problem("two downcasters lead to version %d", d.version)
		case d.from != e.Payload || d.to != e.PayloadOf(d.version):
			problem("the downcaster to version %d turns %s into %s, want %s into %s", d.version, d.from, d.to, e.Payload, e.PayloadOf(d.version))
		}
	}
	return e, errors.Join(problems...)
}

// Catalog is the set of event types that a service knows. It is immutable.
type Catalog struct {
	byName    map[string]*Entry
	byPayload map[reflect.Type]*Entry
}

// NewCatalog checks the declarations and returns all their problems joined.
func NewCatalog(declarations ...Declaration) (*Catalog, error) {
	c := &Catalog{byName: map[string]*Entry{}, byPayload: map[reflect.Type]*Entry{}}
	var problems []error
	for _, d := range declarations {
		e, err := d.entry()
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if c.byName[e.Name] != nil {
			problems = append(problems, fmt.Errorf("catalog: event type %q is declared twice", e.Name))
		}
		if other := c.byPayload[e.Payload]; other != nil {
			problems = append(problems, fmt.Errorf("catalog: %s is the payload of both %q and %q: each type needs its own", e.Payload, other.Name, e.Name))
		}
		c.byName[e.Name], c.byPayload[e.Payload] = e, e
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return c, nil
}

// Types returns the entries in the order of their names.
func (c *Catalog) Types() []*Entry {
	return slices.SortedFunc(maps.Values(c.byName), func(a, b *Entry) int { return strings.Compare(a.Name, b.Name) })
}

// Topics returns the topics, each once, in order.
func (c *Catalog) Topics() []string {
	var topics []string
	for _, e := range c.byName {
		topics = append(topics, e.Topic)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// OfPayload returns the entry whose current payload has the Go type t.
func (c *Catalog) OfPayload(t reflect.Type) (*Entry, error) {
	if e := c.byPayload[t]; e != nil {
		return e, nil
	}
	return nil, &Error{Kind: ErrUnknownType, Detail: fmt.Sprintf("%v is not the payload of a type in the catalog: add it to internal/events/catalog.go", t)}
}

// Find returns the entry of an event type, or nil.
func (c *Catalog) Find(name string) *Entry { return c.byName[name] }

// Skips reports whether an event is to be left to its fallback: it has a version
// that is newer than this build, and comes in one that it can read as well.
func (c *Catalog) Skips(e Envelope) bool {
	entry := c.byName[e.Type]
	return entry != nil && e.SchemaVersion > entry.Version && e.FallbackVersion <= entry.Version && e.FallbackVersion >= entry.OldestVersion()
}

// Decode returns the payload as the current Go type of its event type, upcast
// if it is older. The error is an *Error: ErrUnknownType, ErrNewerVersion,
// ErrUnsupportedVersion, ErrUnknownFields or ErrPayload.
func (c *Catalog) Decode(e Envelope) (any, error) {
	entry := c.byName[e.Type]
	switch {
	case entry == nil:
		return nil, e.fail(ErrUnknownType, nil, "%q is not in this service's catalog", e.Type)
	case e.SchemaVersion > entry.Version:
		return nil, e.fail(ErrNewerVersion, nil, "the event has version %d, this build knows %d: deploy a build that knows it, then replay", e.SchemaVersion, entry.Version)
	case e.SchemaVersion < entry.OldestVersion():
		return nil, e.fail(ErrUnsupportedVersion, nil, "the event has version %d, this build reads %d to %d: add an upcaster, then replay", e.SchemaVersion, entry.OldestVersion(), entry.Version)
	}
	decoder := entry.decode
	if e.SchemaVersion < entry.Version {
		decoder = entry.upcasters[e.SchemaVersion-entry.OldestVersion()].decode
	}
	payload, err := decoder(e.Data)
	if err != nil {
		return nil, e.payloadError(err)
	}
	if payload, err = entry.Upcast(e.SchemaVersion, payload); err != nil {
		return nil, e.fail(ErrPayload, err, "")
	}
	return payload, nil
}

// strict are the options of decoding. A field that the version doesn't have means
// that the payload is not what its version says, and dropping it would lose data.
// The others read what encoding/json writes, which is not always what its second
// version does.
var strict = json.JoinOptions(
	json.RejectUnknownMembers(true),
	jsonv1.FormatByteArrayAsArray(true), jsonv1.FormatBytesWithLegacySemantics(true), jsonv1.FormatDurationAsNano(true),
	jsonv1.StringifyWithLegacySemantics(true),
)

func decode[T any](data []byte) (T, error) {
	var payload T
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || string(trimmed) == "null" {
		return payload, errors.New("the event has no data")
	}
	err := json.Unmarshal(data, &payload, strict)
	return payload, err
}

func (e Envelope) payloadError(err error) error {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	switch {
	case !ok:
		return e.fail(ErrPayload, err, "version %d of %s can't be decoded", e.SchemaVersion, e.Type)
	case errors.Is(err, json.ErrUnknownName):
		return e.fail(ErrUnknownFields, nil, "version %d of %s has no field %q: did its producer change it without a new version?",
			e.SchemaVersion, e.Type, semantic.JSONPointer.LastToken())
	}
	// Not its own text, which has the value in it and is another in every process.
	return e.fail(ErrPayload, semantic.Err, "version %d of %s can't be decoded: %s: a JSON %s is no %v",
		e.SchemaVersion, e.Type, cmp.Or(string(semantic.JSONPointer), "the payload"), kindName(semantic.JSONKind), semantic.GoType)
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindBeginObject, jsontext.KindEndObject:
		return "object"
	case jsontext.KindBeginArray, jsontext.KindEndArray:
		return "array"
	}
	return k.String()
}
