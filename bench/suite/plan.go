package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Who takes part.
var (
	ours    = contender{name: "millwright", open: variant{}.open}
	queued  = contender{name: "millwright, queued writes", open: variant{queued: true}.open}
	failing = contender{name: "millwright, 1 % failing for good", failing: 1, open: variant{failing: 1}.open}
	four    = contender{name: "millwright, 4 instances", open: variant{instances: 4}.open}

	stockDefault = contender{name: "stock Watermill", open: stock{}.open}
	stockTuned   = contender{name: "stock Watermill, polling every 5 ms", open: stock{poll: 5 * time.Millisecond}.open}
	stockJoined  = contender{name: "stock Watermill, joining the subscriber's transaction", open: stock{poll: 5 * time.Millisecond, joined: true}.open}
	riverDefault = contender{name: "River", open: riverQueue{}.open}
	riverTuned   = contender{name: "River, 64 workers, 1 ms cool-down", open: riverQueue{tuned: true}.open}
)

// measurements lists what is measured.
func (b *bench) measurements(full, short bool) []measurement {
	all := []measurement{
		{name: "produce", what: "a business row and its event committed, 8 producers", entries: []entry{
			raw{}.entry("4 round trips", nil, (*raw).produce), raw{oneTrip: true}.entry("1 round trip", nil, (*raw).produce), sameStatements(),
			produce(ours), produce(stockDefault), produce(riverDefault),
		}},
		{name: "forward", what: "from the outbox into the queue, nobody handling", entries: []entry{
			raw{oneTrip: true}.entry("INSERT … SELECT, 500 rows", (*raw).produce, (*raw).relay), forward(ours),
		}},
		{name: "drain", what: "events waiting in the outbox forwarded and handled, one consumer", entries: []entry{
			raw{batch: 1}.entry("consume, 4 round trips", nil, (*raw).consume), raw{batch: 1, oneTrip: true}.entry("consume, 1 round trip", nil, (*raw).consume),
			raw{batch: 64, oneTrip: true}.entry("consume, 64 a transaction", nil, (*raw).consume), raw{}.entry("COPY", nil, (*raw).copyIn),
			drain(ours, b.n, 1), drain(queued, b.n, 1), drain(failing, b.n, 1),
			drain(stockDefault, b.n, 1), drain(stockTuned, b.n, 1), drain(stockJoined, b.n, 1), drain(riverDefault, b.n, 1), drain(riverTuned, b.n, 1),
		}},
		{name: "end to end", what: "8 producers, forwarder and one consumer at once", entries: []entry{
			endToEnd(ours), endToEnd(queued), endToEnd(stockDefault), endToEnd(stockTuned), endToEnd(stockJoined), endToEnd(riverDefault), endToEnd(riverTuned),
		}},
		{name: "round trips", what: "to the database, an event: counted in a pass of its own", entries: []entry{
			trips(ours), trips(queued), trips(stockDefault), trips(stockJoined), trips(riverDefault),
		}},
		{name: "latency at 100/s", what: "from the producer's commit to the handler's", entries: []entry{
			latency(ours, 100), latency(stockDefault, 100), latency(stockTuned, 100), latency(riverDefault, 100), latency(riverTuned, 100),
		}},
	}
	at1000 := measurement{name: "latency at 1000/s", what: "the same", entries: []entry{latency(ours, 1000), latency(riverTuned, 1000)}}
	fanOut := measurement{name: "fan-out", what: "effects of several consumers of one topic"}
	for _, n := range []int{1, 2, 4, 8} {
		c := ours
		c.name = fmt.Sprintf("millwright, consumers: %d", n)
		fanOut.entries = append(fanOut.entries, drain(c, b.n, n))
	}
	backlog := measurement{name: "backlog", what: "drained"}
	sizes := []int{10_000, 100_000}
	if full {
		sizes = append(sizes, 1_000_000)
	}
	for _, n := range sizes {
		c := queued
		c.name = fmt.Sprintf("millwright, queued writes, events: %d", n)
		if short {
			n = 2 * b.n
		}
		backlog.entries = append(backlog.entries, drain(c, n, 1))
	}
	all = append(all, []measurement{at1000, fanOut, backlog,
		{name: "idle", what: "the example service, three consumers, nothing to do", entries: []entry{idle("PostgreSQL"), idle("SQLite")}},
		{name: "instances", what: "drain", entries: []entry{drain(ours, b.n, 1), drain(four, b.n, 1)}},
		{name: "SQLite", what: "drain, synchronous=FULL", entries: []entry{sqliteDrain(ours), sqliteDrain(queued), sqliteDrain(failing)}},
		kafkaFigures("Kafka", "from the outbox to an embedded broker (kfake): its work is in the same two cores", nil),
	}...)
	if servers := kafkaServers(); len(servers) > 0 {
		all = append(all, kafkaFigures("Kafka, a real server", "the same, to the one that KAFKA_BROKERS names", servers))
	}
	return all
}

func kafkaFigures(name, what string, servers []string) measurement {
	return measurement{name: name, what: what, entries: []entry{
		kafkaPublish("watermill-kafka, one by one", 1, servers), kafkaPublish("watermill-kafka, 256 lanes, no outbox", 256, servers), kafkaForward(servers),
	}}
}

// measure takes all figures, round by round, so that everybody gets a share of a
// noisy machine's moods.
func (b *bench) measure(ctx context.Context, all []measurement, only *regexp.Regexp, progress io.Writer) (results, int) {
	taken := map[[2]string][]sample{}
	failures := map[[2]string]error{}
	for round := range b.rounds {
		for _, m := range all {
			for i := range m.entries {
				e := m.entries[(i+round)%len(m.entries)]
				name := [2]string{m.name, e.name}
				if !only.MatchString(m.name+"/"+e.name) || ctx.Err() != nil {
					continue
				}
				s, err := b.takeOne(ctx, e)
				if err != nil {
					failures[name] = err
					fmt.Fprintf(progress, "round %d: %s/%s: %v\n", round+1, m.name, e.name, err)
					continue
				}
				taken[name] = append(taken[name], s)
				fmt.Fprintf(progress, "round %d: %s/%s: %s\n", round+1, m.name, e.name, s)
			}
		}
	}
	var r results
	for _, m := range all {
		for _, e := range m.entries {
			if samples := taken[[2]string{m.name, e.name}]; len(samples) > 0 {
				r = append(r, newResult(m, e.name, samples))
			}
		}
	}
	return r, len(failures)
}

func (b *bench) takeOne(ctx context.Context, e entry) (sample, error) {
	url, drop, err := b.server.fresh(ctx)
	if err != nil {
		return nil, err
	}
	defer drop()
	runtime.GC() // what the one before has left behind
	return e.take(ctx, b, url)
}

func (s sample) String() string {
	var parts []string
	for _, column := range slices.Sorted(maps.Keys(s)) {
		parts = append(parts, fmt.Sprintf("%.4g %s", s[column], column))
	}
	return strings.Join(parts, ", ")
}

// conditions are what the figures depend on.
func (b *bench) conditions(ctx context.Context) ([]string, error) {
	server, err := b.server.conditions(ctx)
	if err != nil {
		return nil, err
	}
	commit, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return []string{
		time.Now().UTC().Format(time.DateOnly), fmt.Sprintf("%d events, %d rounds, medians", b.n, b.rounds),
		fmt.Sprintf("%s, %d cores shared by the server and everybody measured", runtime.Version(), runtime.NumCPU()),
		"PostgreSQL on the same machine: " + strings.Join(server, ", "), "commit " + strings.TrimSpace(string(commit)),
	}, nil
}
