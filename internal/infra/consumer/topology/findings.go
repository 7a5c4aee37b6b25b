package topology

import (
	"fmt"
	"slices"
	"strings"

	"example.com/millwright/internal/infra/envelope"
)

// Severity says what to do about a finding.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // mend it
	Warning Severity = "warning" // mend it, or know why not
	Info    Severity = "info"    // good to know
)

// What is found.
const (
	Cycle        = "cycle"         // events that cause one another without end
	LongestChain = "longest-chain" // a warning past MaxChain events, else for information
	RequestReply = "request-reply" // two types that look like a request and its answer
	Unhandled    = "unhandled"     // a type that nobody handles
	Unpublished  = "unpublished"   // a type that is handled and that nobody publishes
)

// MaxChain is how many events may cause each other one after another before it is
// hard to say what the first one brings about.
const MaxChain = 3

// Finding is something to know about a graph.
type Finding struct {
	Severity Severity `json:"severity"`
	Kind     string   `json:"kind"`
	// Types are the event types it is about; of a chain, in its order.
	Types []string `json:"types"`
	// Nodes are the IDs of the nodes it is about; of a chain, those that lead from
	// each type to the next.
	Nodes   []string `json:"nodes"`
	Message string   `json:"message"`
}

// Findings returns what there is to know, errors first.
func (g Graph) Findings() []Finding {
	c := g.causes()
	all := append([]Finding{}, slices.Concat(g.cycles(c), g.requests(), g.dangling(), g.longestChain(c))...)
	rank := []Severity{Error, Warning, Info}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return slices.Index(rank, a.Severity) - slices.Index(rank, b.Severity)
	})
	return all
}

// causes says which type may cause which: through which node, the first by ID.
type causes map[string]map[string]string

func (g Graph) causes() causes {
	c := causes{}
	for _, n := range g.nodes {
		for _, handled := range n.Handles {
			for _, published := range n.Publishes {
				if c[handled] == nil {
					c[handled] = map[string]string{}
				}
				if c[handled][published] == "" {
					c[handled][published] = n.ID()
				}
			}
		}
	}
	return c
}

// of lists what a type may cause at once, sorted.
func (c causes) of(name string) []string {
	var next []string
	for effect := range c[name] {
		next = append(next, effect)
	}
	slices.Sort(next)
	return next
}

// reach returns all types that name may cause in the end, each with the type just
// before it on a shortest way. name itself is among them if it is on a cycle.
func (c causes) reach(name string) map[string]string {
	before := map[string]string{}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		for _, next := range c.of(queue[0]) {
			if _, seen := before[next]; !seen {
				before[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	return before
}

// chain describes a way from type to type: "a → node → b", and its nodes.
func (c causes) chain(types []string) (text string, nodes []string) {
	parts, nodes := types[:1:1], []string{}
	for i, next := range types[1:] {
		node := c[types[i]][next]
		nodes = append(nodes, node)
		parts = append(parts, node, next)
	}
	return strings.Join(parts, " → "), nodes
}

// cycles finds the types that cause themselves, one finding for all that lead to
// each other, with a shortest way around.
func (g Graph) cycles(c causes) (found []Finding) {
	told := map[string]bool{}
	for _, name := range g.types {
		before := c.reach(name)
		if before[name] == "" || told[name] {
			continue
		}
		for other := range before {
			if _, back := c.reach(other)[name]; back {
				told[other] = true
			}
		}
		way := []string{name}
		for at := before[name]; at != name; at = before[at] {
			way = append(way, at)
		}
		way = append(way, name)
		slices.Reverse(way)
		text, nodes := c.chain(way)
		found = append(found, Finding{Error, Cycle, way, nodes, fmt.Sprintf(
			"%s is a cycle: it ends as a dead letter past depth %d. Cut it, or if a consumer on it doesn't publish the one because of the other, make that two consumers",
			text, envelope.MaxDepth)})
	}
	return found
}

// longestChain finds the longest chain of events in which none comes again.
func (g Graph) longestChain(c causes) []Finding {
	longest := map[string][]string{} // chain from each type on; nil while on a cycle
	var from func(name string) []string
	from = func(name string) []string {
		if chain, known := longest[name]; known {
			return chain
		}
		longest[name] = nil
		if c.reach(name)[name] != "" {
			return nil // reported as a cycle
		}
		var rest []string
		for _, next := range c.of(name) {
			if chain := from(next); len(chain) > len(rest) {
				rest = chain
			}
		}
		longest[name] = append([]string{name}, rest...)
		return longest[name]
	}
	var chain []string
	for _, name := range g.types {
		if one := from(name); len(one) > len(chain) {
			chain = one
		}
	}
	if len(chain) == 0 {
		return nil
	}
	f := Finding{Severity: Info, Kind: LongestChain, Types: chain}
	var text string
	text, f.Nodes = c.chain(chain)
	f.Message = fmt.Sprintf("longest chain of events (%d): %s", len(chain), text)
	if len(chain) > MaxChain {
		f.Severity = Warning
		f.Message += fmt.Sprintf("; past %d nobody can say what the first one brings about: let one consumer do what belongs together", MaxChain)
	}
	return []Finding{f}
}

// dangling finds the types that only one side knows.
func (g Graph) dangling() (found []Finding) {
	for _, name := range g.types {
		handlers, publishers := ids(g.handlers(name)), ids(g.publishers(name))
		switch {
		case len(handlers) == 0:
			found = append(found, Finding{Warning, Unhandled, []string{name}, publishers,
				fmt.Sprintf("nobody handles %s: merge the graph of a service that does, or drop it", name)})
		case len(publishers) == 0:
			found = append(found, Finding{Warning, Unpublished, []string{name}, handlers,
				fmt.Sprintf("nobody publishes %s, which %s handles: declare it (consumer.Publishes), or merge the producer's graph", name, handlers[0])})
		}
	}
	return found
}

// requests finds pairs of types that look like a request and its answer: one
// node alone handles the first and publishes the second, which goes back to
// where the first came from and nowhere else.
func (g Graph) requests() (found []Finding) {
	for _, request := range g.types {
		servers := g.handlers(request)
		if len(servers) != 1 {
			continue
		}
		server := servers[0]
		for _, reply := range server.Publishes {
			clients := g.handlers(reply)
			if len(clients) != 1 {
				continue
			}
			client := clients[0]
			askers := g.those(func(n Node) bool {
				back := n.ID() == client.ID() || n.Service == client.Service && n.Service != server.Service
				return slices.Contains(n.Publishes, request) && n.ID() != server.ID() && back
			})
			toldAlready := func(f Finding) bool { return slices.Equal(f.Types, []string{reply, request}) }
			if len(askers) == 0 || slices.ContainsFunc(found, toldAlready) {
				continue
			}
			nodes := set(append(ids(askers), server.ID(), client.ID()))
			found = append(found, Finding{Warning, RequestReply, []string{request, reply}, nodes, fmt.Sprintf(
				"%s and %s look like a request and its answer: %s publishes the one, only %s handles it, and only %s handles the other. If it waits for the answer, make a call: docs/when-not-to-use-events.md",
				request, reply, askers[0].ID(), server.ID(), client.ID())})
		}
	}
	return found
}

func ids(nodes []Node) []string {
	ids := []string{}
	for _, n := range nodes {
		ids = append(ids, n.ID())
	}
	return ids
}
