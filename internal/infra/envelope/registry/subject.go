package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Strategy is a way to name subjects.
type Strategy string

// The strategies. Within a subject, each schema has to be compatible with those
// before it.
const (
	// ByVersion names the subject <event type>.v<schema version>: every version has
	// a subject of its own. A new version is a change that old readers can't take,
	// which upcasters bridge; what the registry guards are the changes within one.
	// It is none of Confluent's own: to those that read the registry it is what
	// RecordNameStrategy is, with the version as a part of the record's name.
	ByVersion Strategy = "version"
	// ByRecord names it <event type>, as Confluent's RecordNameStrategy. The
	// versions of a type share it, so a new one that breaks needs the level NONE.
	ByRecord Strategy = "record"
	// ByTopicRecord names it <topic>-<event type>, as TopicRecordNameStrategy. The
	// versions of a type share it.
	ByTopicRecord Strategy = "topic-record"
	// ByTopic names it <topic>-value, as TopicNameStrategy, Confluent's default. All
	// types on a topic share it: it is for topics of one type, or the level NONE.
	ByTopic Strategy = "topic"
)

var strategies = []Strategy{ByVersion, ByRecord, ByTopicRecord, ByTopic}

// ParseStrategy reads the name of a Strategy.
func ParseStrategy(name string) (Strategy, error) {
	if s := Strategy(name); slices.Contains(strategies, s) {
		return s, nil
	}
	return "", fmt.Errorf("%q: use version, record, topic-record or topic", name)
}

// Schema is the schema of one version of an event type.
type Schema struct {
	EventType string
	Version   int
	// Topic is where its events go. The strategies with a topic need it.
	Topic string
	// Text is the JSON Schema. White space makes no difference, the order of
	// members does.
	Text []byte
	// Compatibility is the level that its subject gets: NONE, BACKWARD, FORWARD or
	// FULL, the latter three also with _TRANSITIVE. Empty leaves what there is.
	Compatibility string
}

// String names the schema in errors.
func (s Schema) String() string {
	return fmt.Sprintf("%s v%d", cmp.Or(s.EventType, "(unnamed)"), s.Version)
}

// Subject names the subject of a schema.
func (s Strategy) Subject(schema Schema) string {
	switch s {
	case ByRecord:
		return schema.EventType
	case ByTopicRecord:
		return schema.Topic + "-" + schema.EventType
	case ByTopic:
		return schema.Topic + "-value"
	}
	return fmt.Sprintf("%s.v%d", schema.EventType, schema.Version)
}

var levels = []string{"NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"}

// validate says what is wrong with a schema before any registry is asked.
func (s Strategy) validate(schema Schema) error {
	var problems []error
	if schema.EventType == "" {
		problems = append(problems, errors.New("the event type is missing"))
	}
	if schema.Version < 1 {
		problems = append(problems, fmt.Errorf("the version is %d: give 1 or more", schema.Version))
	}
	if schema.Topic == "" && (s == ByTopic || s == ByTopicRecord) {
		problems = append(problems, fmt.Errorf("the topic is missing, which the strategy %q names subjects by", s))
	}
	if schema.Compatibility != "" && !slices.Contains(levels, schema.Compatibility) {
		problems = append(problems, fmt.Errorf("the compatibility is %q: use one of %s", schema.Compatibility, strings.Join(levels, ", ")))
	}
	if err := json.Compact(new(bytes.Buffer), schema.Text); err != nil {
		problems = append(problems, fmt.Errorf("the schema is not JSON: %w", err))
	}
	return errors.Join(problems...)
}
