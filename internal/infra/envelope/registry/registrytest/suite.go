package registrytest

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope/registry"
)

// Harness is what the suite has to know of a registry.
type Harness struct {
	// URL is where it is. It may have other subjects: the suite's are of its own.
	URL string
	// Dialect is the $schema of the texts. Empty leaves it out, for a registry that
	// compares older drafts only.
	Dialect string
	// Silent says that the registry gives no reasons when it is only asked.
	Silent bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, suite){
		"PublishTwice":   testPublishTwice,
		"Evolution":      testEvolution,
		"Refused":        testRefused,
		"Invalid":        testInvalid,
		"Check":          testCheck,
		"CheckSaysLevel": testCheckSaysLevel,
		"Levels":         testLevels,
		"Transitive":     testTransitive,
		"Registered":     testRegistered,
		"Strategies":     testStrategies,
		"Concurrently":   testConcurrently,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := registry.New(registry.Config{URL: h.URL})
			require.NoError(t, err)
			test(t, suite{h, client, "parcels." + strings.ToLower(rand.Text())})
		})
	}
}

// suite is what a test gets: a client, and an event type that nobody else has.
type suite struct {
	Harness
	client *registry.Registry
	name   string
}

// schema is an object with the properties: all are strings, and those that end
// in "!" are required.
func (s suite) schema(version int, level string, properties ...string) registry.Schema {
	var list, required []string
	for _, p := range properties {
		name, must := strings.CutSuffix(p, "!")
		if list = append(list, fmt.Sprintf(`%q: {"type": "string"}`, name)); must {
			required = append(required, fmt.Sprintf("%q", name))
		}
	}
	dialect := ""
	if s.Dialect != "" {
		dialect = fmt.Sprintf(`"$schema": %q, `, s.Dialect)
	}
	return registry.Schema{EventType: s.name, Version: version, Topic: "post", Compatibility: level, Text: fmt.Appendf(nil,
		`{%s"type": "object", "properties": {%s}, "required": [%s], "additionalProperties": false}`,
		dialect, strings.Join(list, ", "), strings.Join(required, ", "))}
}

func (s suite) publish(t *testing.T, schema registry.Schema) registry.Registered {
	t.Helper()
	published, err := s.client.Publish(t.Context(), schema)
	require.NoError(t, err)
	require.Len(t, published, 1)
	return published[0]
}

func (s suite) check(t *testing.T, schema registry.Schema) registry.Verdict {
	t.Helper()
	verdicts, err := s.client.Check(t.Context(), schema)
	require.NoError(t, err)
	require.Len(t, verdicts, 1)
	return verdicts[0]
}

func testPublishTwice(t *testing.T, s suite) {
	schema := s.schema(3, "BACKWARD", "id!", "note")
	first := s.publish(t, schema)
	require.Equal(t, registry.Registered{EventType: s.name, SchemaVersion: 3, Subject: s.name + ".v3", ID: first.ID, Version: 1, New: true}, first)
	require.Positive(t, first.ID)

	schema.Text = []byte(strings.ReplaceAll(string(schema.Text), " ", "\n\t "))
	again := s.publish(t, schema)
	first.New = false
	require.Equal(t, first, again, "white space makes no difference")
}

func testEvolution(t *testing.T, s suite) {
	old, new := s.schema(1, "BACKWARD", "id!"), s.schema(1, "BACKWARD", "id!", "note")
	require.Equal(t, 1, s.publish(t, old).Version)
	second := s.publish(t, new)
	require.Equal(t, 2, second.Version)
	require.True(t, second.New)
	// An instance of the earlier build publishes again.
	require.Equal(t, 1, s.publish(t, old).Version)
	require.NoError(t, s.client.Registered(t.Context(), old, new))
}

func testRefused(t *testing.T, s suite) {
	s.publish(t, s.schema(1, "BACKWARD", "id!"))
	breaking := s.schema(1, "BACKWARD", "id!", "weight!")
	published, err := s.client.Publish(t.Context(), s.schema(2, "BACKWARD", "a"), breaking, s.schema(3, "BACKWARD", "a"))
	require.ErrorIs(t, err, registry.ErrIncompatible)
	require.ErrorContains(t, err, "registry: publish "+s.name+".v1: incompatible: ")
	require.Contains(t, strings.ToLower(err.Error()), "required", "the registry's reason")
	require.Len(t, published, 2, "the others are published all the same")
	require.Equal(t, s.name+".v2", published[0].Subject)
	require.Equal(t, s.name+".v3", published[1].Subject)
	require.ErrorIs(t, s.client.Registered(t.Context(), breaking), registry.ErrNotRegistered)
}

func testInvalid(t *testing.T, s suite) {
	schema := s.schema(1, "")
	schema.Text = []byte(`["not", "a", "schema"]`)
	_, err := s.client.Publish(t.Context(), schema)
	require.ErrorIs(t, err, registry.ErrInvalid)
	require.ErrorContains(t, err, s.name+".v1")
}

func testCheck(t *testing.T, s suite) {
	old := s.schema(1, "BACKWARD", "id!")
	verdict := registry.Verdict{EventType: s.name, SchemaVersion: 1, Subject: s.name + ".v1", State: registry.StateNew}
	require.Equal(t, verdict, s.check(t, old))
	require.ErrorIs(t, s.client.Registered(t.Context(), old), registry.ErrNotRegistered, "it was only a question")

	s.publish(t, old)
	verdict.State = registry.StateKnown
	require.Equal(t, verdict, s.check(t, old))

	compatible, breaking := s.schema(1, "BACKWARD", "id!", "note"), s.schema(1, "BACKWARD", "id!", "weight!")
	verdict.State, verdict.Level = registry.StateCompatible, "BACKWARD"
	require.Equal(t, verdict, s.check(t, compatible))

	got := s.check(t, breaking)
	require.Equal(t, registry.StateIncompatible, got.State)
	if !s.Silent {
		require.Contains(t, strings.Join(got.Reasons, " "), "weight")
	}
	require.ErrorIs(t, s.client.Registered(t.Context(), compatible), registry.ErrNotRegistered, "it was only a question")
}

func testCheckSaysLevel(t *testing.T, s suite) {
	s.publish(t, s.schema(1, "NONE", "id!"))
	verdict := s.check(t, s.schema(1, "BACKWARD", "id!", "weight!"))
	require.Equal(t, registry.StateCompatible, verdict.State)
	require.Equal(t, "NONE", verdict.Level)
	require.Equal(t, []string{"this was compared by NONE; publishing sets BACKWARD"}, verdict.Reasons)
	_, err := s.client.Publish(t.Context(), s.schema(1, "BACKWARD", "id!", "weight!"))
	require.ErrorIs(t, err, registry.ErrIncompatible)
}

// testLevels changes a schema in both directions under each level.
func testLevels(t *testing.T, s suite) {
	narrow, wide := []string{"id!"}, []string{"id!", "note"}
	for i, c := range []struct {
		level        string
		grow, lessen bool
	}{
		{"NONE", true, true},
		{"BACKWARD", true, false},
		{"FORWARD", false, true},
		{"FULL", false, false},
	} {
		// The levels are set on subjects that had another one.
		a, b := 2*i+1, 2*i+2
		s.publish(t, s.schema(a, "NONE", narrow...))
		s.publish(t, s.schema(b, "NONE", wide...))
		_, err := s.client.Publish(t.Context(), s.schema(a, c.level, wide...))
		require.Equal(t, c.grow, err == nil, "%s, a property is added: %v", c.level, err)
		_, err = s.client.Publish(t.Context(), s.schema(b, c.level, narrow...))
		require.Equal(t, c.lessen, err == nil, "%s, a property is removed: %v", c.level, err)
	}
}

func testTransitive(t *testing.T, s suite) {
	s.publish(t, s.schema(1, "NONE", "id!"))
	s.publish(t, s.schema(1, "NONE", "id!", "weight!"))
	// It goes with the last one, and not with the one before.
	third := s.schema(1, "BACKWARD_TRANSITIVE", "id!", "weight!", "note")
	_, err := s.client.Publish(t.Context(), third)
	require.ErrorIs(t, err, registry.ErrIncompatible)
	require.Equal(t, registry.StateIncompatible, s.check(t, third).State)
	third.Compatibility = "BACKWARD"
	require.Equal(t, 3, s.publish(t, third).Version)
}

func testRegistered(t *testing.T, s suite) {
	one, two, three := s.schema(1, "", "id!"), s.schema(2, "", "id!"), s.schema(3, "", "id!")
	require.NoError(t, s.client.Registered(t.Context()))
	s.publish(t, two)
	err := s.client.Registered(t.Context(), one, two, three)
	require.ErrorIs(t, err, registry.ErrNotRegistered)
	require.NotErrorIs(t, err, registry.ErrUnavailable)
	require.EqualError(t, err, fmt.Sprintf("registry: not registered at %s: %s.v1, %s.v3: run `service events publish`", s.client, s.name, s.name))
	_, err = s.client.Publish(t.Context(), one, two, three)
	require.NoError(t, err)
	require.NoError(t, s.client.Registered(t.Context(), one, two, three))

	// Another text under a subject that is known.
	require.ErrorIs(t, s.client.Registered(t.Context(), s.schema(1, "", "id")), registry.ErrNotRegistered)
}

// testStrategies publishes two versions, of which the second breaks.
func testStrategies(t *testing.T, s suite) {
	for strategy, subject := range map[registry.Strategy]string{
		registry.ByVersion:     s.name + ".v2",
		registry.ByRecord:      s.name,
		registry.ByTopicRecord: s.name + "-topic-" + s.name,
		registry.ByTopic:       s.name + "-topic-value",
	} {
		client, err := registry.New(registry.Config{URL: s.URL, Subjects: strategy})
		require.NoError(t, err)
		versions := []registry.Schema{s.schema(1, "NONE", "id!"), s.schema(2, "NONE", "parcel!")}
		for i := range versions {
			versions[i].Topic = s.name + "-topic"
		}
		published, err := client.Publish(t.Context(), versions...)
		require.NoError(t, err)
		require.Equal(t, subject, published[1].Subject)
		shared := strategy != registry.ByVersion
		require.Equal(t, shared, published[0].Subject == published[1].Subject)
		require.Equal(t, shared, published[1].Version == 2)

		for i := range versions {
			versions[i].Compatibility = "BACKWARD"
		}
		versions[1].Text = s.schema(2, "", "box!").Text
		_, err = client.Publish(t.Context(), versions...)
		require.ErrorIs(t, err, registry.ErrIncompatible, "within the subject, also by the default")
	}
}

func testConcurrently(t *testing.T, s suite) {
	schemas := []registry.Schema{s.schema(1, "FULL", "id!"), s.schema(2, "BACKWARD", "id!", "note")}
	s.publish(t, schemas[0])
	results := make([][]registry.Registered, 8)
	errs := make([]error, len(results))
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() { results[i], errs[i] = s.client.Publish(t.Context(), schemas...) })
	}
	all.Wait()
	for i := range results {
		require.NoError(t, errs[i])
		require.Len(t, results[i], 2)
		require.Equal(t, results[0][1].ID, results[i][1].ID)
		require.Equal(t, 1, results[i][1].Version, "there is one version")
	}
}
