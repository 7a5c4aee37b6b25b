package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/infra/consumer/topology"
	"example.com/millwright/internal/infra/envelope/contract"
	"example.com/millwright/internal/infra/envelope/registry"
)

type eventsCheck struct {
	outputFlag
	mergeFlag
	Against string `default:"HEAD" placeholder:"REF" help:"What to compare the schemas with: a commit, such as origin/main, or a directory of schemas."`
	Dir     string `default:"internal/events" help:"Where the payload types are."`
	Live    bool   `help:"Instead, decode what is stored in the databases: can this build read what is out there?"`
	Sample  int    `default:"100000" help:"With --live: how many events of each table at most, evenly spread."`
}

var errContracts = errors.New("contracts are broken")

// Run implements the command.
func (c eventsCheck) Run(ctx context.Context, config *app.Config, to streams) error {
	if c.Live {
		return c.live(ctx, config, to)
	}
	return withDeclarations(ctx, config, to, func(declared *app.Declarations) error {
		graph, err := c.graph(declared.Topology)
		if err != nil {
			return err
		}
		r := report{Findings: graph.Findings()}
		if r.Verdicts, err = declared.CheckContracts(c.Dir, c.Against); err != nil {
			return err
		}
		r.Registry, err = declared.Registry.Check(ctx)
		r.OK = err == nil && !r.broken()
		err = errors.Join(err, c.printReport(to.out, r))
		if r.broken() {
			err = errors.Join(errContracts, err)
		}
		return err
	})
}

// report is the outcome of events check.
type report struct {
	OK       bool               `json:"ok"`
	Verdicts []contract.Verdict `json:"verdicts"`
	Findings []topology.Finding `json:"findings"`
	Registry []registry.Verdict `json:"registry,omitempty"`
}

func (r report) broken() bool {
	return slices.ContainsFunc(r.Verdicts, func(v contract.Verdict) bool { return v.Status == contract.Incompatible }) ||
		slices.ContainsFunc(r.Findings, func(f topology.Finding) bool { return f.Severity == topology.Error }) ||
		slices.ContainsFunc(r.Registry, func(v registry.Verdict) bool { return v.State == registry.StateIncompatible })
}

func (c eventsCheck) printReport(w io.Writer, r report) error {
	if c.Output == "json" {
		return c.print(w, r, nil)
	}
	for _, v := range r.Verdicts {
		printVerdict(w, v)
	}
	for _, v := range r.Registry {
		fmt.Fprintf(w, "registry: %s: %s\n", v.Subject, v.State)
		for _, reason := range v.Reasons {
			fmt.Fprintf(w, "  %s\n", reason)
		}
	}
	printFindings(w, r.Findings)
	return nil
}

func printVerdict(w io.Writer, v contract.Verdict) {
	status := string(v.Status)
	if v.Status == contract.Compatible || v.Status == contract.Incompatible && v.Mode != "" {
		status += " (" + v.Mode + ")"
	}
	if len(v.Changes) > 0 {
		status += ": " + strings.Join(v.Changes, "; ")
	}
	fmt.Fprintf(w, "%s v%d: %s\n", v.Type, v.Version, status)
	for _, p := range v.Problems {
		fmt.Fprintf(w, "  %s: %s\n", p.Rule, p.Message)
		if p.Example != nil {
			fmt.Fprintf(w, "    such as %s\n", p.Example)
		}
	}
	if v.Status != contract.Unchanged && len(v.Consumers) > 0 {
		fmt.Fprintf(w, "  handled by: %s\n", strings.Join(v.Consumers, ", "))
	}
	if v.WayOut != "" {
		fmt.Fprintf(w, "  way out: %s\n", v.WayOut)
	}
}

// mostUnreadable is how many rows are listed one by one.
const mostUnreadable = 1000

// live needs no source code: it is for the pipeline that deploys the build.
func (c eventsCheck) live(ctx context.Context, config *app.Config, to streams) error {
	// Before the deploy, the database may be older than this build.
	tools, cleanup, err := app.InitializeTools(ctx, *config, newLogger(*config, to.err))
	if err != nil {
		return err
	}
	defer cleanup()
	found, err := tools.CheckLive(ctx, c.Sample, mostUnreadable)
	if err != nil {
		return err
	}
	err = c.print(to.out, found, func(t *table) {
		t.row("TABLE", "ROWS", "READ")
		for _, l := range found.Tables {
			t.row(l.Name, strconv.FormatInt(l.Rows, 10), strconv.FormatInt(l.Read, 10))
		}
		t.row("")
		t.row("EVENT", "READABLE", "UNREADABLE", "OF OTHERS")
		for _, l := range found.Types {
			t.row(versionName(l.Type, l.Version), strconv.FormatInt(l.Readable, 10), strconv.FormatInt(l.Unreadable, 10), strconv.FormatInt(l.Foreign, 10))
		}
	})
	if failed := found.Failed(); failed > 0 {
		if c.Output == "table" {
			for _, l := range found.Unreadable {
				fmt.Fprintf(to.out, "%s %s: %s\n", l.Table, l.ID, l.Error)
			}
		}
		err = errors.Join(fmt.Errorf("this build can't read %s of those that are stored", count(failed, "event")), err)
	}
	return err
}

// versionName names an event type, or what has no readable one.
func versionName(eventType string, version int) string {
	if eventType == "" {
		return "(unreadable)"
	}
	return fmt.Sprintf("%s v%d", eventType, version)
}
