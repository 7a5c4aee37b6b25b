package topology

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Text is the graph as a table: a type, who publishes it, who handles it.
func (g Graph) Text() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EVENT\tPUBLISHED BY\tHANDLED BY")
	for _, name := range g.types {
		publishers, handlers := orNobody(g.publishers(name)), orNobody(g.handlers(name))
		for i := range max(len(publishers), len(handlers)) {
			fmt.Fprintf(w, "%s\t%s\t%s\n", at([]string{name}, i), at(publishers, i), at(handlers, i))
		}
	}
	_ = w.Flush() // into memory
	lines := strings.Split(out.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func orNobody(nodes []Node) []string {
	if len(nodes) == 0 {
		return []string{"-"}
	}
	return ids(nodes)
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// Mermaid is the graph as a Mermaid flowchart. Source: https://mermaid.js.org/syntax/flowchart.html
func (g Graph) Mermaid() string {
	return g.draw(drawing{
		start: "flowchart LR\n", service: "    subgraph s%[1]d[\"%[2]s\"]\n", serviceEnd: "    end\n",
		producer: "        n%d[\"%s\"]\n", consumer: "        n%d([\"%s\"])\n", event: "    e%d{{\"%s\"}}\n",
		publishes: "    n%d --> e%d\n", handles: "    e%d --> n%d\n",
	})
}

// Dot is the graph in Graphviz's language. Source: https://graphviz.org/doc/info/lang.html
func (g Graph) Dot() string {
	return g.draw(drawing{
		start: "digraph events {\n    rankdir=LR\n", service: "    subgraph cluster_s%d {\n        label=\"%s\"\n", serviceEnd: "    }\n",
		producer: "        n%d [label=\"%s\", shape=box]\n", consumer: "        n%d [label=\"%s\", shape=box, style=rounded]\n",
		event:     "    e%d [label=\"%s\", shape=hexagon]\n",
		publishes: "    n%d -> e%d\n", handles: "    e%d -> n%d\n", end: "}\n",
	})
}

// drawing is a language for pictures. Nodes and types are numbered; their names
// are such that they need no escaping in quotes.
type drawing struct{ start, service, producer, consumer, serviceEnd, event, publishes, handles, end string }

func (g Graph) draw(d drawing) string {
	var out, edges strings.Builder
	number := map[string]int{}
	for i, name := range g.types {
		number[name] = i + 1
	}
	out.WriteString(d.start)
	services := 0
	for i, n := range g.nodes { // those of a service come one after another
		if i == 0 || n.Service != g.nodes[i-1].Service {
			services++
			fmt.Fprintf(&out, d.service, services, n.Service)
		}
		form := d.producer
		if n.Kind == Consumer {
			form = d.consumer
		}
		fmt.Fprintf(&out, form, i+1, n.Name)
		if i == len(g.nodes)-1 || n.Service != g.nodes[i+1].Service {
			out.WriteString(d.serviceEnd)
		}
		for _, name := range n.Publishes {
			fmt.Fprintf(&edges, d.publishes, i+1, number[name])
		}
		for _, name := range n.Handles {
			fmt.Fprintf(&edges, d.handles, number[name], i+1)
		}
	}
	for i, name := range g.types {
		fmt.Fprintf(&out, d.event, i+1, name)
	}
	return out.String() + edges.String() + d.end
}
