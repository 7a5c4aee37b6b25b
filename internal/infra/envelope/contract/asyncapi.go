package contract

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v4"

	"example.com/millwright/internal/infra/envelope"
)

// AsyncAPI describes the service's events in AsyncAPI 3.0.0, as YAML: a channel
// for every topic, a message for every version of an event, an operation for every
// producer and consumer of a topic.
// Specification: https://www.asyncapi.com/docs/reference/specification/v3.0.0
func (s Service) AsyncAPI() ([]byte, error) {
	document := asyncAPI{
		AsyncAPI: "3.0.0",
		Info: info{
			Title: s.Name, Version: s.Version,
			Description: "Events are CloudEvents 1.0 in structured mode. Those of one partition key arrive in order, each at least once.",
		},
		DefaultContentType: envelope.MediaType,
		Channels:           map[string]channel{},
		Operations:         map[string]operation{},
		Components:         components{Messages: map[string]asyncMessage{}, Schemas: map[string]yaml.Node{}},
	}
	for _, e := range s.Events {
		c, ok := document.Channels[e.Topic]
		if !ok {
			c = channel{Address: e.Topic, Messages: map[string]reference{}, Bindings: s.channelBindings(e.Topic)}
		}
		document.Channels[e.Topic] = c
		for _, v := range e.Versions {
			name := messageName(v)
			c.Messages[name] = refer("components/messages/" + name)
			m, err := s.message(e, v)
			if err != nil {
				return nil, fmt.Errorf("contract: AsyncAPI of %s: %w", v, err)
			}
			document.Components.Messages[name] = m
			if err := document.Components.addSchemas(name, v.Schema); err != nil {
				return nil, fmt.Errorf("contract: AsyncAPI of %s: %w", v, err)
			}
			for _, producer := range e.Producers {
				if v.Current {
					document.operate("send", producer, e.Topic, name)
				}
			}
			for _, consumer := range e.Consumers {
				document.operate("receive", consumer, e.Topic, name)
			}
		}
	}
	return yaml.Marshal(document)
}

// messageName is a key of components, which takes letters, digits, '.', '-' and '_'.
func messageName(v Version) string { return fmt.Sprintf("%s.v%d", v.Type, v.Version) }

type asyncAPI struct {
	AsyncAPI           string               `yaml:"asyncapi"`
	Info               info                 `yaml:"info"`
	DefaultContentType string               `yaml:"defaultContentType"`
	Channels           map[string]channel   `yaml:"channels"`
	Operations         map[string]operation `yaml:"operations"`
	Components         components           `yaml:"components"`
}

type info struct {
	Title       string `yaml:"title"`
	Version     string `yaml:"version"`
	Description string `yaml:"description"`
}

type reference struct {
	Ref string `yaml:"$ref"`
}

func refer(path string) reference { return reference{"#/" + path} }

type channel struct {
	Address  string               `yaml:"address"`
	Messages map[string]reference `yaml:"messages"`
	Bindings map[string]any       `yaml:"bindings,omitempty"`
}

type operation struct {
	Action   string      `yaml:"action"`
	Summary  string      `yaml:"summary"`
	Channel  reference   `yaml:"channel"`
	Messages []reference `yaml:"messages"`
}

type components struct {
	Messages map[string]asyncMessage `yaml:"messages"`
	Schemas  map[string]yaml.Node    `yaml:"schemas"`
}

type asyncMessage struct {
	Name          string            `yaml:"name"`
	Title         string            `yaml:"title"`
	Summary       string            `yaml:"summary,omitempty"`
	ContentType   string            `yaml:"contentType"`
	CorrelationID map[string]string `yaml:"correlationId"`
	Payload       any               `yaml:"payload"`
	Bindings      map[string]any    `yaml:"bindings,omitempty"`
	Examples      []map[string]any  `yaml:"examples"`
}

// operate adds a message to what a part of the service sends to or receives from
// a topic.
func (a *asyncAPI) operate(action, party, topic, name string) {
	key := party + "." + action + "." + topic
	o, ok := a.Operations[key]
	if !ok {
		verb := map[string]string{"send": "publishes", "receive": "handles"}[action]
		o = operation{Action: action, Summary: fmt.Sprintf("%s %s events of %s.", party, verb, topic), Channel: refer("channels/" + topic)}
	}
	o.Messages = append(o.Messages, refer("channels/"+topic+"/messages/"+name))
	a.Operations[key] = o
}

func (s Service) message(e Event, v Version) (asyncMessage, error) {
	var example any
	if err := json.Unmarshal(v.Example, &example); err != nil {
		return asyncMessage{}, err
	}
	m := asyncMessage{
		Name: v.Type, Title: v.String(), Summary: v.Schema.Description, ContentType: envelope.MediaType,
		CorrelationID: map[string]string{"location": "$message.payload#/correlationid"},
		Payload:       cloudEvent(v),
		Examples:      []map[string]any{{"name": "example", "payload": example}},
	}
	if s.Broker == "kafka" {
		key := map[string]any{"type": "string", "description": "The partition key: " + e.Key + " of the data."}
		m.Bindings = map[string]any{"kafka": map[string]any{"key": key, "bindingVersion": "0.5.0"}}
	}
	return m, nil
}

func (s Service) channelBindings(topic string) map[string]any {
	if s.Broker != "kafka" {
		return nil // the specification has no binding for a table
	}
	return map[string]any{"kafka": map[string]any{"topic": topic, "bindingVersion": "0.5.0"}}
}

// cloudEvent is the schema of an event as it travels.
func cloudEvent(v Version) map[string]any {
	text := func(description string) map[string]any {
		return map[string]any{"type": "string", "description": description}
	}
	return map[string]any{
		"type":     "object",
		"required": []string{"specversion", "id", "source", "type", "schemaversion", "data"},
		"properties": map[string]any{
			"specversion":     map[string]any{"const": envelope.SpecVersion},
			"id":              text("Identifies the event together with source: drop what you have handled already."),
			"source":          text("The producer."),
			"type":            map[string]any{"const": v.Type},
			"time":            map[string]any{"type": "string", "format": "date-time"},
			"schemaversion":   map[string]any{"const": v.Version},
			"fallbackversion": map[string]any{"type": "integer", "minimum": 1, "description": "The same event comes in this older version as well: take one of them."},
			"partitionkey":    text("Events of one key are in order."),
			"correlationid":   text("Shared by all events that go back to one cause."),
			"causationid":     text("The event whose handling caused this one."),
			"depth":           map[string]any{"type": "integer", "minimum": 0, "maximum": envelope.MaxDepth},
			"traceparent":     text("W3C trace context."),
			"data":            refer("components/schemas/" + messageName(v)),
		},
	}
}

// addSchemas adds a payload's schema. Its definitions become schemas of their own,
// as references are relative to the whole document.
func (c components) addSchemas(name string, s *jsonschema.Schema) error {
	root := *s
	root.Version, root.Definitions = "", nil
	all := map[string]*jsonschema.Schema{name: &root}
	for definition, d := range s.Definitions {
		all[name+"."+definition] = d
	}
	for key, part := range all {
		encoded, err := part.MarshalJSON()
		if err != nil {
			return err
		}
		encoded = []byte(strings.ReplaceAll(string(encoded), `"$ref":"#/$defs/`, `"$ref":"#/components/schemas/`+name+`.`))
		var node yaml.Node
		if err := yaml.Unmarshal(encoded, &node); err != nil { // JSON is YAML, and keeps its order
			return err
		}
		block(&node)
		c.Schemas[key] = *node.Content[0]
	}
	return nil
}

// block writes what was read as JSON in YAML's own style.
func block(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		block(child)
	}
}
