// Command suite measures this project and its peers on the same work, side by
// side in one run: see bench/RESULTS.md. Start it from the repository's root with
// go run ./bench.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	b := &bench{}
	address := flag.String("database", os.Getenv("DATABASE_URL"), "PostgreSQL to measure on; by default DATABASE_URL, or one that is started for the run")
	only := flag.String("only", "", "take only the figures whose measurement/name matches this regular expression")
	list := flag.Bool("list", false, "list the figures and end")
	full := flag.Bool("full", false, "include the backlog of a million")
	short := flag.Bool("short", false, "a smoke test: few events, one round")
	report := flag.Bool("report", false, "write bench/RESULTS.md, bench/results.json and docs/bench.svg")
	jsonFile := flag.String("json", "", "write the figures to this file")
	svgFile := flag.String("svg", "", "write a chart to this file")
	flag.StringVar(&b.profile, "profile", "", "write a CPU profile of the last figure taken of produce, drain or end to end, this process's part of it, to this file")
	flag.IntVar(&b.n, "n", 10_000, "events of a measurement")
	flag.IntVar(&b.rounds, "rounds", 3, "rounds: the figures are their medians")
	flag.DurationVar(&b.seconds, "seconds", 10*time.Second, "how long to measure a latency")
	flag.Parse()
	if *short {
		b.n, b.rounds, b.seconds = 500, 1, time.Second
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if b.n < 100 || b.rounds < 1 || flag.NArg() > 0 {
		return fmt.Errorf("want -n of 100 or more, -rounds of 1 or more, and no arguments but have %d, %d, %q", b.n, b.rounds, flag.Args())
	}
	all := b.measurements(*full, *short)
	if *list {
		for _, m := range all {
			for _, e := range m.entries {
				fmt.Println(m.name + "/" + e.name)
			}
		}
		return nil
	}
	if b.server, err = openServer(ctx, *address); err != nil {
		return err
	}
	defer b.server.cleanup()
	defer runtime.KeepAlive(make([]byte, 32<<20)) // as in cmd/service/serve.go, but for everybody
	results, failed := b.measure(ctx, all, pattern, os.Stderr)
	conditions, err := b.conditions(ctx)
	if err != nil {
		return err
	}
	fmt.Print(results.markdown())
	root := filepath.Join("..", "..")
	if *report {
		*jsonFile = cmp.Or(*jsonFile, filepath.Join(root, "bench", "results.json"))
		*svgFile = cmp.Or(*svgFile, filepath.Join(root, "docs", "bench.svg"))
		path := filepath.Join(root, "bench", "RESULTS.md")
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(results.report(conditions)+byHand(string(old))), 0o644); err != nil {
			return err
		}
	}
	if *jsonFile != "" {
		if err := results.writeJSON(*jsonFile, conditions); err != nil {
			return err
		}
	}
	if *svgFile != "" {
		if err := os.WriteFile(*svgFile, []byte(results.svg()), 0o644); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d figures could not be taken", failed)
	}
	return nil
}
