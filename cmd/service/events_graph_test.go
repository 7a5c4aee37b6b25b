package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/consumer/topology"
)

// TestEventsGraph needs no database: there is none at this address.
func TestEventsGraph(t *testing.T) {
	t.Parallel()
	b := setup(t, "postgres://nobody@127.0.0.1:1/nothing")
	require.Equal(t, `EVENT             PUBLISHED BY           HANDLED BY
orders.cancelled  millwright/orders-api  millwright/reserve-stock
                                         millwright/sales-report
orders.placed     millwright/orders-api  millwright/reserve-stock
                                         millwright/sales-report
                                         millwright/send-confirmation

info: longest chain of events (1): orders.cancelled
`, b.must("events", "graph"))

	const finding = "info: longest chain of events (1): orders.cancelled\n"
	mermaid := b.run("events", "graph", "-o", "mermaid")
	require.Equal(t, result{code: exitDone, out: mermaid.out, err: finding}, mermaid)
	require.Regexp(t, `^flowchart LR\n(.+\n)+$`, mermaid.out)
	require.Contains(t, mermaid.out, `["orders-api"]`)
	dot := b.run("events", "graph", "-o", "dot")
	require.Equal(t, result{code: exitDone, out: dot.out, err: finding}, dot)
	require.Regexp(t, `^digraph events \{\n(.+\n)+\}\n$`, dot.out)
	require.Contains(t, dot.out, `[label="orders-api", shape=box]`)

	left, err := os.ReadDir(b.dir)
	require.NoError(t, err)
	require.Empty(t, left, "it leaves no files")
}

// TestEventsGraphMerge finds what only shows in the graphs of two services.
func TestEventsGraphMerge(t *testing.T) {
	t.Parallel()
	b := onSQLite(t)
	file := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o644))
	}
	file("own.json", b.must("events", "graph", "--output", "json"))
	file("billing.json", `{"nodes":[
		{"service":"billing","name":"bill","kind":"consumer","handles":["orders.placed"],"publishes":["bills.sent"]},
		{"service":"billing","name":"remind","kind":"consumer","handles":["bills.sent"],"publishes":["bills.overdue"]}]}`)
	file("collection,1.json", `{"nodes":[{"service":"collection","name":"lawyer","kind":"consumer","handles":["bills.overdue"],"publishes":["letters.sent","orders.placed"]}]}`)

	out := b.must("events", "graph", "--merge", "own.json", "--merge", "billing.json")
	require.Contains(t, out, "\nwarning: nobody handles bills.overdue: merge the graph of a service that does, or drop it\n"+
		"info: longest chain of events (3): orders.placed → billing/bill → bills.sent → billing/remind → bills.overdue\n")

	encoded := []byte(b.must("events", "graph", "-o", "json", "--merge", "collection,1.json", "--merge", "billing.json"))
	var graph topology.Graph
	require.NoError(t, json.Unmarshal(encoded, &graph))
	require.Len(t, graph.Nodes(), 4+2+1)
	var read struct{ Findings []topology.Finding }
	require.NoError(t, json.Unmarshal(encoded, &read))
	require.Equal(t, graph.Findings(), read.Findings)
	require.Equal(t, topology.Cycle, read.Findings[0].Kind)
	require.Equal(t, []string{"collection/lawyer", "billing/bill", "billing/remind"}, read.Findings[0].Nodes)
}

func TestEventsGraphErrors(t *testing.T) {
	t.Parallel()
	b := onSQLite(t)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "config.json"), []byte(b.must("config", "-o", "json")), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "text"), []byte(b.must("events", "graph")), 0o644))
	for args, want := range map[string]string{
		"graph -o xml":              `service: --output must be one of "text","mermaid","dot","json" but got "xml"` + "\n" + hint,
		"graph --merge nofile":      "service: --merge nofile: can't be merged: open nofile: no such file or directory\n",
		"graph --merge config.json": "service: --merge config.json: can't be merged: topology: not a graph of events: json: cannot unmarshal array into Go value of type topology.document\n",
		"graph --merge text":        "service: --merge text: can't be merged: invalid character 'E' looking for beginning of value\n",
	} {
		r := b.run(append([]string{"events"}, strings.Fields(args)...)...)
		require.Equal(t, result{code: exitUsage, err: want}, r, args)
	}
}
