package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/infra/consumer/topology"
)

type eventsGraph struct {
	Output string `short:"o" enum:"text,mermaid,dot,json" default:"text" help:"text, mermaid, dot or json."`
	mergeFlag
}

// mergeFlag is shared by the commands that look at several services together.
type mergeFlag struct {
	Merge []string `placeholder:"FILE" sep:"none" help:"Another service's graph, from its events graph --output json. May be given several times."`
}

var errNotMerged = errors.New("can't be merged")

// graph returns the service's graph together with the files'.
func (m mergeFlag) graph(own topology.Graph) (topology.Graph, error) {
	others := make([]topology.Graph, len(m.Merge))
	for i, file := range m.Merge {
		content, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(content, &others[i])
		}
		if err != nil {
			return own, fmt.Errorf("--merge %s: %w: %w", file, errNotMerged, err)
		}
	}
	return own.Merge(others...), nil
}

// Run implements the command.
func (c eventsGraph) Run(ctx context.Context, config *app.Config, to streams) error {
	return withDeclarations(ctx, config, to, func(declared *app.Declarations) error {
		graph, err := c.graph(declared.Topology)
		if err != nil {
			return err
		}
		switch c.Output {
		case "json":
			return outputFlag{Output: "json"}.print(to.out, graph, nil)
		case "mermaid":
			fmt.Fprint(to.out, graph.Mermaid())
			printFindings(to.err, graph.Findings())
		case "dot":
			fmt.Fprint(to.out, graph.Dot())
			printFindings(to.err, graph.Findings())
		default:
			fmt.Fprint(to.out, graph.Text(), "\n")
			printFindings(to.out, graph.Findings())
		}
		return nil
	})
}

// printFindings writes a line for each.
func printFindings(w io.Writer, findings []topology.Finding) {
	for _, f := range findings {
		fmt.Fprintf(w, "%s: %s\n", f.Severity, f.Message)
	}
}
