// Package topology is the graph of events: who publishes and who handles which
// type, in one service or in several whose graphs were merged.
//
// It is drawn from declarations (catalog, consumers, producers). What a consumer
// publishes is declared for all of it, so each event that it handles may cause
// each that it publishes. Where that is wrong, make it two consumers.
//
// [Graph.Findings] tells what looks like a mistake. A graph is written as text, as
// a picture (Mermaid, Graphviz) and as JSON, which can be read and merged again.
package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/envelope"
)

// Kind tells a node that handles events from one that only publishes.
type Kind string

// The kinds of nodes.
const (
	Producer Kind = "producer"
	Consumer Kind = "consumer"
)

// Node is a part of a service that publishes or handles events.
type Node struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	Kind    Kind   `json:"kind"`
	// Handles and Publishes are the names of event types, sorted.
	Handles   []string `json:"handles"`
	Publishes []string `json:"publishes"`
}

// ID is the node's name among those of all services: service/name.
func (n Node) ID() string { return n.Service + "/" + n.Name }

// Edge says that the node From publishes a type which the node To handles. Nodes
// are named by their IDs.
type Edge struct {
	Type string `json:"type"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Graph says who publishes and who handles which event types. It is immutable;
// the zero Graph is empty.
type Graph struct {
	types []string // all that are known, sorted
	nodes []Node   // by ID
}

// New returns the graph of a service, or all problems of its declarations joined.
func New(service string, catalog *envelope.Catalog, consumers []consumer.Consumer, producers []consumer.Producer) (Graph, error) {
	var types []string
	for _, entry := range catalog.Types() {
		types = append(types, entry.Name)
	}
	var nodes []Node
	var problems []error
	for _, c := range consumers {
		handles, unhandled := c.Handles(catalog)
		publishes, unpublished := c.Publishes(catalog)
		problems = append(problems, unhandled, unpublished)
		nodes = append(nodes, Node{Service: service, Name: c.Name(), Kind: Consumer, Handles: names(handles), Publishes: names(publishes)})
	}
	for _, p := range producers {
		publishes, err := p.Publishes(catalog)
		problems = append(problems, err)
		nodes = append(nodes, Node{Service: service, Name: p.Name(), Kind: Producer, Publishes: names(publishes)})
	}
	seen := map[string]bool{}
	for _, n := range nodes {
		if seen[n.Name] {
			problems = append(problems, fmt.Errorf("topology: there are two consumers or producers named %q: rename one", n.Name))
		}
		seen[n.Name] = true
	}
	if err := errors.Join(append(problems, check(types, nodes))...); err != nil {
		return Graph{}, err
	}
	return union(types, nodes), nil
}

func names(entries []*envelope.Entry) []string {
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name)
	}
	return names
}

// nameForm is what may stand in a picture without quotes and next to a slash.
var nameForm = regexp.MustCompile(`^[\pL\pN][\pL\pN._-]*$`)

// check says what is wrong with the parts of a graph.
func check(types []string, nodes []Node) error {
	var problems []error
	name := func(where, what, name string) {
		if !nameForm.MatchString(name) {
			problems = append(problems, fmt.Errorf("topology: %s%s is %q: use letters, digits, dots, underscores and hyphens", where, what, name))
		}
	}
	for _, n := range nodes {
		where := fmt.Sprintf("node %q: ", n.ID())
		name(where, "the service", n.Service)
		name(where, "the name", n.Name)
		for _, t := range slices.Concat(n.Handles, n.Publishes) {
			name(where, "an event type", t)
		}
		if n.Kind != Producer && n.Kind != Consumer {
			problems = append(problems, fmt.Errorf("topology: %sthe kind is %q: use %s or %s", where, n.Kind, Producer, Consumer))
		}
		if n.Kind == Producer && len(n.Handles) > 0 {
			problems = append(problems, fmt.Errorf("topology: %sit handles %s, so it is no %s but a %s", where, n.Handles[0], Producer, Consumer))
		}
	}
	for _, t := range types {
		name("", "an event type", t)
	}
	return errors.Join(problems...)
}

// union sorts the parts of a graph. Nodes of one ID become one; it is a consumer if
// one of them is.
func union(types []string, nodes []Node) Graph {
	byID := map[string]Node{}
	types = slices.Clone(types)
	for _, n := range nodes {
		if same, found := byID[n.ID()]; found {
			n.Kind = min(n.Kind, same.Kind) // by the alphabet
			n.Handles, n.Publishes = slices.Concat(n.Handles, same.Handles), slices.Concat(n.Publishes, same.Publishes)
		}
		n.Handles, n.Publishes = set(n.Handles), set(n.Publishes)
		byID[n.ID()] = n
		types = append(append(types, n.Handles...), n.Publishes...)
	}
	g := Graph{types: set(types)}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		g.nodes = append(g.nodes, byID[id])
	}
	return g
}

// set sorts names and drops those that come twice. It is never nil, so that JSON
// has a list.
func set(names []string) []string {
	sorted := append([]string{}, names...)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// Merge returns the graph of all services together. A service whose graph is
// there twice, perhaps of different builds, has the parts of both.
func (g Graph) Merge(others ...Graph) Graph {
	types, nodes := g.types, g.nodes
	for _, other := range others {
		types, nodes = slices.Concat(types, other.types), slices.Concat(nodes, other.nodes)
	}
	return union(types, nodes)
}

// Types returns the names of the event types, sorted.
func (g Graph) Types() []string { return slices.Clone(g.types) }

// Nodes returns the nodes in the order of their IDs.
func (g Graph) Nodes() []Node { return slices.Clone(g.nodes) }

// Edges returns the ways of events from node to node, by type.
func (g Graph) Edges() []Edge {
	edges := []Edge{}
	for _, name := range g.types {
		for _, from := range g.publishers(name) {
			for _, to := range g.handlers(name) {
				edges = append(edges, Edge{Type: name, From: from.ID(), To: to.ID()})
			}
		}
	}
	return edges
}

// Producers returns the names of the nodes that publish the type, sorted. Where
// several services are merged, the same name may come twice.
func (g Graph) Producers(eventType string) []string { return nodeNames(g.publishers(eventType)) }

// Consumers returns the names of the nodes that handle the type, sorted.
func (g Graph) Consumers(eventType string) []string { return nodeNames(g.handlers(eventType)) }

func nodeNames(nodes []Node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return names
}

// publishers are the nodes that publish the type.
func (g Graph) publishers(name string) []Node {
	return g.those(func(n Node) bool { return slices.Contains(n.Publishes, name) })
}

// handlers are the nodes that handle the type.
func (g Graph) handlers(name string) []Node {
	return g.those(func(n Node) bool { return slices.Contains(n.Handles, name) })
}

func (g Graph) those(are func(Node) bool) []Node {
	var nodes []Node
	for _, n := range g.nodes {
		if are(n) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// document is a graph as JSON. Edges and findings follow from the rest: they are
// written for whoever reads it, and made anew when it is read back.
type document struct {
	Types    []string  `json:"types"`
	Nodes    []Node    `json:"nodes"`
	Edges    []Edge    `json:"edges"`
	Findings []Finding `json:"findings"`
}

// MarshalJSON implements json.Marshaler.
func (g Graph) MarshalJSON() ([]byte, error) {
	return json.Marshal(document{Types: set(g.types), Nodes: append([]Node{}, g.nodes...), Edges: g.Edges(), Findings: g.Findings()})
}

// UnmarshalJSON implements json.Unmarshaler. It refuses what is not a graph.
func (g *Graph) UnmarshalJSON(data []byte) error {
	var read document
	if err := json.Unmarshal(data, &read); err != nil {
		return fmt.Errorf("topology: not a graph of events: %w", err)
	}
	if read.Nodes == nil {
		return errors.New(`topology: not a graph of events: "nodes" is missing`)
	}
	if err := check(read.Types, read.Nodes); err != nil {
		return err
	}
	*g = union(read.Types, read.Nodes)
	return nil
}
