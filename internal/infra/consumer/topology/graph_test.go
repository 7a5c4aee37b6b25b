package topology_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/consumer/topology"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
)

// The events of a library.
type (
	borrowed struct{}
	returned struct{}
	fined    struct{}
)

func catalog(t *testing.T) *envelope.Catalog {
	t.Helper()
	c, err := envelope.NewCatalog(
		envelope.Type[borrowed]{Name: "books.borrowed", Version: 1, Topic: "books", Key: func(borrowed) string { return "" }, Owner: "tests"},
		envelope.Type[returned]{Name: "books.returned", Version: 1, Topic: "books", Key: func(returned) string { return "" }, Owner: "tests"},
		envelope.Type[fined]{Name: "readers.fined", Version: 1, Topic: "readers", Key: func(fined) string { return "" }, Owner: "tests"},
	)
	require.NoError(t, err)
	return c
}

func on[T any]() consumer.Option {
	return consumer.On(func(context.Context, database.Tx, envelope.Event[T]) error { return nil })
}

// library is the graph of a service in which nobody handles readers.fined.
func library(t *testing.T) topology.Graph {
	t.Helper()
	g, err := topology.New("library", catalog(t),
		[]consumer.Consumer{
			consumer.New("shelf", on[returned](), on[borrowed]()),
			consumer.New("fines", on[returned](), consumer.Publishes[fined]()),
		},
		[]consumer.Producer{consumer.NewProducer("desk", consumer.Publishes[returned](), consumer.Publishes[borrowed]())})
	require.NoError(t, err)
	return g
}

// bank is another service's graph, as a file.
const bank = `{"nodes":[{"service":"bank","name":"bills","kind":"consumer","handles":["readers.fined"]}]}`

func parse(t require.TestingT, text string) topology.Graph {
	var g topology.Graph
	require.NoError(t, json.Unmarshal([]byte(text), &g))
	return g
}

func TestNew(t *testing.T) {
	t.Parallel()
	g := library(t)
	require.Equal(t, []string{"books.borrowed", "books.returned", "readers.fined"}, g.Types())
	require.Equal(t, []topology.Node{
		{Service: "library", Name: "desk", Kind: topology.Producer, Handles: []string{}, Publishes: []string{"books.borrowed", "books.returned"}},
		{Service: "library", Name: "fines", Kind: topology.Consumer, Handles: []string{"books.returned"}, Publishes: []string{"readers.fined"}},
		{Service: "library", Name: "shelf", Kind: topology.Consumer, Handles: []string{"books.borrowed", "books.returned"}, Publishes: []string{}},
	}, g.Nodes())
	require.Equal(t, []topology.Edge{
		{Type: "books.borrowed", From: "library/desk", To: "library/shelf"},
		{Type: "books.returned", From: "library/desk", To: "library/fines"},
		{Type: "books.returned", From: "library/desk", To: "library/shelf"},
	}, g.Edges())
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	type unlisted struct{}
	_, err := topology.New("library", catalog(t),
		[]consumer.Consumer{
			consumer.New("lost", on[unlisted]()), consumer.New("told", on[fined](), consumer.Publishes[unlisted]()),
			consumer.New("Reading Room", on[fined]()),
		},
		[]consumer.Producer{consumer.NewProducer("desk"), consumer.NewProducer("told", consumer.Publishes[fined]())})
	require.EqualError(t, err, `consumer "lost": envelope: unknown event type: topology_test.unlisted is not the payload of a type in the catalog: add it to internal/events/catalog.go
consumer "told": envelope: unknown event type: topology_test.unlisted is not the payload of a type in the catalog: add it to internal/events/catalog.go
producer "desk": it publishes nothing: add Publishes
topology: there are two consumers or producers named "told": rename one
topology: node "library/Reading Room": the name is "Reading Room": use letters, digits, dots, underscores and hyphens`)
}

func TestOutputs(t *testing.T) {
	t.Parallel()
	g := library(t).Merge(parse(t, bank), parse(t, `{"types":["books.burnt"],"nodes":[{"service":"fire","name":"alarm","kind":"consumer","handles":["house.burnt"]}]}`))
	require.Equal(t, `EVENT           PUBLISHED BY   HANDLED BY
books.borrowed  library/desk   library/shelf
books.burnt     -              -
books.returned  library/desk   library/fines
                               library/shelf
house.burnt     -              fire/alarm
readers.fined   library/fines  bank/bills
`, g.Text())
	require.Equal(t, `flowchart LR
    subgraph s1["bank"]
        n1(["bills"])
    end
    subgraph s2["fire"]
        n2(["alarm"])
    end
    subgraph s3["library"]
        n3["desk"]
        n4(["fines"])
        n5(["shelf"])
    end
    e1{{"books.borrowed"}}
    e2{{"books.burnt"}}
    e3{{"books.returned"}}
    e4{{"house.burnt"}}
    e5{{"readers.fined"}}
    e5 --> n1
    e4 --> n2
    n3 --> e1
    n3 --> e3
    n4 --> e5
    e3 --> n4
    e1 --> n5
    e3 --> n5
`, g.Mermaid())
	require.Equal(t, `digraph events {
    rankdir=LR
    subgraph cluster_s1 {
        label="bank"
        n1 [label="bills", shape=box, style=rounded]
    }
    subgraph cluster_s2 {
        label="fire"
        n2 [label="alarm", shape=box, style=rounded]
    }
    subgraph cluster_s3 {
        label="library"
        n3 [label="desk", shape=box]
        n4 [label="fines", shape=box, style=rounded]
        n5 [label="shelf", shape=box, style=rounded]
    }
    e1 [label="books.borrowed", shape=hexagon]
    e2 [label="books.burnt", shape=hexagon]
    e3 [label="books.returned", shape=hexagon]
    e4 [label="house.burnt", shape=hexagon]
    e5 [label="readers.fined", shape=hexagon]
    e5 -> n1
    e4 -> n2
    n3 -> e1
    n3 -> e3
    n4 -> e5
    e3 -> n4
    e1 -> n5
    e3 -> n5
}
`, g.Dot())
	encoded, err := json.MarshalIndent(parse(t, bank), "", "  ")
	require.NoError(t, err)
	require.Equal(t, `{
  "types": [
    "readers.fined"
  ],
  "nodes": [
    {
      "service": "bank",
      "name": "bills",
      "kind": "consumer",
      "handles": [
        "readers.fined"
      ],
      "publishes": []
    }
  ],
  "edges": [],
  "findings": [
    {
      "severity": "warning",
      "kind": "unpublished",
      "types": [
        "readers.fined"
      ],
      "nodes": [
        "bank/bills"
      ],
      "message": "nobody publishes readers.fined, which bank/bills handles: declare it (consumer.Publishes), or merge the producer's graph"
    },
    {
      "severity": "info",
      "kind": "longest-chain",
      "types": [
        "readers.fined"
      ],
      "nodes": [],
      "message": "longest chain of events (1): readers.fined"
    }
  ]
}`, string(encoded))
}

func TestEmptyGraph(t *testing.T) {
	t.Parallel()
	var g topology.Graph
	require.Equal(t, "EVENT  PUBLISHED BY  HANDLED BY\n", g.Text())
	require.Equal(t, "flowchart LR\n", g.Mermaid())
	require.Equal(t, "digraph events {\n    rankdir=LR\n}\n", g.Dot())
	require.Empty(t, g.Findings())
	encoded, err := json.Marshal(g)
	require.NoError(t, err)
	require.JSONEq(t, `{"types":[],"nodes":[],"edges":[],"findings":[]}`, string(encoded))
}

func TestWhatIsNoGraph(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`:                           `topology: not a graph of events: "nodes" is missing`,
		`{"nodes":null}`:               `topology: not a graph of events: "nodes" is missing`,
		`[]`:                           `topology: not a graph of events: json: cannot unmarshal array into Go value of type topology.document`,
		`{"nodes":[{}]}`:               `topology: node "/": the service is "": use letters, digits, dots, underscores and hyphens`,
		`{"types":["a b"],"nodes":[]}`: `topology: an event type is "a b": use letters, digits, dots, underscores and hyphens`,
		`{"nodes":[{"service":"s","name":"n\"]","kind":"consumer","handles":["a"]}]}`: `topology: node "s/n\"]": the name is "n\"]": use letters`,
		`{"nodes":[{"service":"s","name":"n","kind":"consumer","handles":["a/b"]}]}`:  `topology: node "s/n": an event type is "a/b": use letters`,
		`{"nodes":[{"service":"s","name":"n","kind":"actor"}]}`:                       `topology: node "s/n": the kind is "actor": use producer or consumer`,
		`{"nodes":[{"service":"s","name":"n","kind":"producer","handles":["a"]}]}`:    `topology: node "s/n": it handles a, so it is no producer but a consumer`,
	} {
		g := library(t)
		require.ErrorContains(t, json.Unmarshal([]byte(text), &g), want, text)
		require.Equal(t, library(t), g, "it stays as it was")
	}
}

// graphs draws small graphs, whose parts often overlap.
func graphs() *rapid.Generator[topology.Graph] {
	name := func(names ...string) *rapid.Generator[string] { return rapid.SampledFrom(names) }
	types := rapid.SliceOfN(name("a", "b", "c", "d"), 0, 3)
	nodes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) topology.Node {
		n := topology.Node{
			Service: name("s", "s-1", "t").Draw(t, "service"), Name: name("m", "n", "o").Draw(t, "name"), Kind: topology.Producer,
			Publishes: types.Draw(t, "publishes"),
		}
		if rapid.Bool().Draw(t, "consumer") {
			n.Kind, n.Handles = topology.Consumer, types.Draw(t, "handles")
		}
		return n
	}), 0, 4)
	return rapid.Custom(func(t *rapid.T) topology.Graph {
		encoded, err := json.Marshal(map[string]any{"types": types.Draw(t, "types"), "nodes": nodes.Draw(t, "nodes")})
		require.NoError(t, err)
		return parse(t, string(encoded))
	})
}

// In whatever order graphs are merged, and through files or not, the result is
// the same.
func TestMerge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := graphs().Draw(t, "a"), graphs().Draw(t, "b"), graphs().Draw(t, "c")
		all := a.Merge(b, c)
		require.Equal(t, all, a.Merge(b).Merge(c))
		require.Equal(t, all, a.Merge(b.Merge(c)))
		require.Equal(t, all, c.Merge(a, b))
		require.Equal(t, all, all.Merge(a, all))
		require.Equal(t, a, a.Merge(topology.Graph{}))
		encoded, err := json.Marshal(all)
		require.NoError(t, err)
		require.Equal(t, all, parse(t, string(encoded)))
		// Nothing is lost.
		for _, part := range []topology.Graph{a, b, c} {
			require.Subset(t, all.Types(), part.Types())
			require.Subset(t, all.Edges(), part.Edges())
		}
	})
}
