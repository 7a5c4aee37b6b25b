package topology_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/millwright/internal/infra/consumer/topology"
)

// node is a consumer of the service s or, with another service in front, of that:
// "t/name".
func node(id string, handles, publishes []string) topology.Node {
	n := topology.Node{Service: "s", Name: id, Kind: topology.Consumer, Handles: handles, Publishes: publishes}
	if len(id) > 2 && id[1] == '/' {
		n.Service, n.Name = id[:1], id[2:]
	}
	if len(handles) == 0 {
		n.Kind = topology.Producer
	}
	return n
}

type names = []string

// merged makes a graph of each node and merges them.
func merged(t require.TestingT, nodes ...topology.Node) (g topology.Graph) {
	for _, n := range nodes {
		encoded, err := json.Marshal(map[string]any{"nodes": []topology.Node{n}})
		require.NoError(t, err)
		g = g.Merge(parse(t, string(encoded)))
	}
	return g
}

func TestFindings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		nodes []topology.Node
		want  []topology.Finding
	}{
		"one event": {
			[]topology.Node{node("api", nil, names{"a"}), node("c", names{"a"}, nil)},
			[]topology.Finding{{topology.Info, topology.LongestChain, names{"a"}, names{}, "longest chain of events (1): a"}},
		},
		"three in a row are fine": {
			[]topology.Node{node("api", nil, names{"a"}), node("c", names{"a"}, names{"b"}), node("d", names{"b"}, names{"c"}), node("e", names{"a", "b", "c"}, nil)},
			[]topology.Finding{{topology.Info, topology.LongestChain, names{"a", "b", "c"}, names{"s/c", "s/d"}, "longest chain of events (3): a → s/c → b → s/d → c"}},
		},
		"four over three services are not": {
			[]topology.Node{
				node("api", nil, names{"a"}), node("t/c", names{"a"}, names{"b", "z"}), node("u/d", names{"b"}, names{"c"}), node("e", names{"c"}, names{"d"}),
				node("t/f", names{"d", "z"}, nil),
			},
			[]topology.Finding{{
				topology.Warning, topology.LongestChain, names{"a", "b", "c", "d"}, names{"t/c", "u/d", "s/e"},
				"longest chain of events (4): a → t/c → b → u/d → c → s/e → d; past 3 nobody can say what the first one brings about: let one consumer do what belongs together",
			}},
		},
		"a consumer that answers itself": {
			[]topology.Node{node("api", nil, names{"a"}), node("echo", names{"a"}, names{"a"})},
			[]topology.Finding{{
				topology.Error, topology.Cycle, names{"a", "a"}, names{"s/echo"},
				"a → s/echo → a is a cycle: it ends as a dead letter past depth 16. Cut it, or if a consumer on it doesn't publish the one because of the other, make that two consumers",
			}},
		},
		// x leads into the cycle and isn't on it; of the two ways around the shorter is told.
		"a cycle over two services": {
			[]topology.Node{
				node("api", nil, names{"x"}), node("in", names{"x"}, names{"b"}), node("c", names{"a"}, names{"b"}), node("t/d", names{"b"}, names{"c"}),
				node("e", names{"c"}, names{"a", "f"}), node("g", names{"f"}, names{"a", "h"}), node("i", names{"h", "c"}, nil),
			},
			[]topology.Finding{
				{
					topology.Error, topology.Cycle, names{"a", "b", "c", "a"}, names{"s/c", "t/d", "s/e"},
					"a → s/c → b → t/d → c → s/e → a is a cycle: it ends as a dead letter past depth 16. Cut it, or if a consumer on it doesn't publish the one because of the other, make that two consumers",
				},
				{topology.Info, topology.LongestChain, names{"h"}, names{}, "longest chain of events (1): h"},
			},
		},
		"two cycles": {
			[]topology.Node{node("c", names{"a"}, names{"a"}), node("d", names{"b"}, names{"b", "a"})},
			[]topology.Finding{
				{
					topology.Error, topology.Cycle, names{"a", "a"}, names{"s/c"},
					"a → s/c → a is a cycle: it ends as a dead letter past depth 16. Cut it, or if a consumer on it doesn't publish the one because of the other, make that two consumers",
				},
				{
					topology.Error, topology.Cycle, names{"b", "b"}, names{"s/d"},
					"b → s/d → b is a cycle: it ends as a dead letter past depth 16. Cut it, or if a consumer on it doesn't publish the one because of the other, make that two consumers",
				},
			},
		},
		"only one side": {
			[]topology.Node{node("api", nil, names{"a"}), node("t/c", names{"b"}, nil)},
			[]topology.Finding{
				{topology.Warning, topology.Unhandled, names{"a"}, names{"s/api"}, "nobody handles a: merge the graph of a service that does, or drop it"},
				{topology.Warning, topology.Unpublished, names{"b"}, names{"t/c"}, "nobody publishes b, which t/c handles: declare it (consumer.Publishes), or merge the producer's graph"},
				{topology.Info, topology.LongestChain, names{"a"}, names{}, "longest chain of events (1): a"},
			},
		},
		"request and reply between services": {
			[]topology.Node{node("api", nil, names{"ask"}), node("job", nil, names{"ask"}), node("t/c", names{"ask"}, names{"tell"}), node("d", names{"tell"}, nil)},
			[]topology.Finding{
				{
					topology.Warning, topology.RequestReply, names{"ask", "tell"}, names{"s/api", "s/d", "s/job", "t/c"},
					"ask and tell look like a request and its answer: s/api publishes the one, only t/c handles it, and only s/d handles the other. If it waits for the answer, make a call: docs/when-not-to-use-events.md",
				},
				{topology.Info, topology.LongestChain, names{"ask", "tell"}, names{"t/c"}, "longest chain of events (2): ask → t/c → tell"},
			},
		},
		"request and reply in one service": {
			[]topology.Node{node("api", nil, names{"x"}), node("p", names{"x", "tell"}, names{"ask"}), node("c", names{"ask"}, names{"tell"})},
			[]topology.Finding{
				{
					topology.Error, topology.Cycle, names{"ask", "tell", "ask"}, names{"s/c", "s/p"},
					"ask → s/c → tell → s/p → ask is a cycle: it ends as a dead letter past depth 16. Cut it, or if a consumer on it doesn't publish the one because of the other, make that two consumers",
				},
				{
					topology.Warning, topology.RequestReply, names{"ask", "tell"}, names{"s/c", "s/p"},
					"ask and tell look like a request and its answer: s/p publishes the one, only s/c handles it, and only s/p handles the other. If it waits for the answer, make a call: docs/when-not-to-use-events.md",
				},
				{topology.Info, topology.LongestChain, names{"x"}, names{}, "longest chain of events (1): x"},
			},
		},
		"no request: others listen too, or the steps are one service's own": {
			[]topology.Node{
				node("api", nil, names{"a", "e"}), node("t/c", names{"a"}, names{"b"}), node("d", names{"b"}, nil), node("u/d", names{"b"}, nil),
				node("f", names{"e"}, names{"g"}), node("h", names{"g"}, nil),
			},
			[]topology.Finding{{topology.Info, topology.LongestChain, names{"a", "b"}, names{"t/c"}, "longest chain of events (2): a → t/c → b"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, merged(t, c.nodes...).Findings())
		})
	}
}

// The longest chain is as long as the longest of all chains, tried one by one.
func TestLongestChain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Each consumer handles one type and publishes later ones, so there is no cycle.
		n := rapid.IntRange(1, 7).Draw(t, "types")
		nodes := []topology.Node{node("api", nil, names{"e0"})}
		effects := make([][]int, n)
		for from := range n {
			var publishes names
			for to := from + 1; to < n; to++ {
				if rapid.Bool().Draw(t, fmt.Sprintf("e%d causes e%d", from, to)) {
					publishes, effects[from] = append(publishes, fmt.Sprint("e", to)), append(effects[from], to)
				}
			}
			nodes = append(nodes, node(fmt.Sprint(rapid.SampledFrom([]string{"s", "t", "u"}).Draw(t, "service"), "/c", from), names{fmt.Sprint("e", from)}, publishes))
		}
		var deepest func(from int) int
		deepest = func(from int) (most int) {
			for _, to := range effects[from] {
				most = max(most, deepest(to))
			}
			return most + 1
		}
		most := 0
		for from := range n {
			most = max(most, deepest(from))
		}
		findings := merged(t, nodes...).Findings()
		i := slices.IndexFunc(findings, func(f topology.Finding) bool { return f.Kind == topology.LongestChain })
		require.GreaterOrEqual(t, i, 0)
		chain := findings[i]
		require.Len(t, chain.Types, most)
		require.Equal(t, most > topology.MaxChain, chain.Severity == topology.Warning)
		for j := range most - 1 {
			var from, to int
			_, err := fmt.Sscanf(chain.Types[j]+" "+chain.Types[j+1], "e%d e%d", &from, &to)
			require.NoError(t, err)
			require.Contains(t, effects[from], to)
		}
		require.False(t, slices.ContainsFunc(findings, func(f topology.Finding) bool { return f.Kind == topology.Cycle }))
	})
}

// A cycle is found if and only if some type can come back to itself, tried step
// by step; and each that is told is one.
func TestCycles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := graphs().Draw(t, "graph")
		causes := map[[2]string]bool{}
		for _, n := range g.Nodes() {
			for _, from := range n.Handles {
				for _, to := range n.Publishes {
					causes[[2]string{from, to}] = true
				}
			}
		}
		direct := maps.Clone(causes)
		for range g.Types() { // the transitive closure
			for a := range causes {
				for _, c := range g.Types() {
					if causes[[2]string{a[1], c}] {
						causes[[2]string{a[0], c}] = true
					}
				}
			}
		}
		onCycle := map[string]bool{}
		for _, name := range g.Types() {
			if causes[[2]string{name, name}] {
				onCycle[name] = true
			}
		}
		told := map[string]bool{}
		for _, f := range g.Findings() {
			if f.Kind != topology.Cycle {
				continue
			}
			require.Equal(t, f.Types[0], f.Types[len(f.Types)-1])
			require.Len(t, f.Nodes, len(f.Types)-1)
			for i := range f.Nodes {
				require.True(t, direct[[2]string{f.Types[i], f.Types[i+1]}])
			}
			for name := range onCycle { // all that it leads to and that lead to it are told with it
				if causes[[2]string{f.Types[0], name}] && causes[[2]string{name, f.Types[0]}] {
					require.False(t, told[name], "told twice")
					told[name] = true
				}
			}
		}
		require.Equal(t, onCycle, told)
	})
}
