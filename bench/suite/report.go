package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// result is what came out of all rounds for one figure.
type result struct {
	Measurement string            `json:"measurement"`
	What        string            `json:"what"`
	Name        string            `json:"name"`
	Figures     map[string]spread `json:"figures"`
}

// spread is a figure over the rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

type results []result

func newResult(m measurement, name string, samples []sample) result {
	r := result{Measurement: m.name, What: m.what, Name: name, Figures: map[string]spread{}}
	for column := range samples[0] {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = s[column]
		}
		r.Figures[column] = spread{median(values), slices.Min(values), slices.Max(values)}
	}
	return r
}

// best is the highest median among the results whose names have the prefix.
func (rs results) best(measurement, prefix, column string) float64 {
	var best float64
	for _, r := range rs {
		if r.Measurement == measurement && strings.HasPrefix(r.Name, prefix) {
			best = max(best, r.Figures[column].Median)
		}
	}
	return best
}

// markdown is a table a measurement.
func (rs results) markdown() string {
	var b strings.Builder
	for from := 0; from < len(rs); {
		to := from
		for to < len(rs) && rs[to].Measurement == rs[from].Measurement {
			to++
		}
		rs.table(&b, rs[from:to])
		from = to
	}
	return b.String()
}

func (rs results) table(b *strings.Builder, rows results) {
	first := rows[0]
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n", first.Measurement, first.What)
	var columns []string
	for _, r := range rows {
		columns = append(columns, slices.Collect(maps.Keys(r.Figures))...)
	}
	slices.Sort(columns)
	columns = slices.Compact(columns)
	// What counts comes first.
	slices.SortStableFunc(columns, func(a, c string) int { return strings.Compare(rank(a), rank(c)) })
	stock, river := rs.best(first.Measurement, "stock", "events/s"), rs.best(first.Measurement, "River", "events/s")
	header, line := "| |", "|---|"
	for _, c := range columns {
		header, line = header+" "+c+" | min–max |", line+"---:|---:|"
	}
	if stock > 0 {
		header, line = header+" × stock's best |", line+"---:|"
	}
	if river > 0 {
		header, line = header+" × River's best |", line+"---:|"
	}
	fmt.Fprintln(b, header)
	fmt.Fprintln(b, line)
	for _, r := range rows {
		fmt.Fprintf(b, "| %s |", r.Name)
		for _, c := range columns {
			if f, ok := r.Figures[c]; ok {
				fmt.Fprintf(b, " %s | %s–%s |", number(f.Median), number(f.Min), number(f.Max))
			} else {
				fmt.Fprint(b, " | |")
			}
		}
		for _, peer := range []float64{stock, river} {
			if peer > 0 {
				fmt.Fprintf(b, " %.2f |", r.Figures["events/s"].Median/peer)
			}
		}
		fmt.Fprintln(b)
	}
}

func rank(column string) string {
	if column == "events/s" || strings.HasPrefix(column, "p") {
		return "0"
	}
	return "1" + column
}

func number(f float64) string {
	switch {
	case f >= 1000:
		return fmt.Sprintf("%d,%03d", int(f+0.5)/1000, int(f+0.5)%1000)
	case f >= 10:
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.1f", f)
}

// report is bench/RESULTS.md.
func (rs results) report(conditions []string) string {
	return "# Results\n\nWritten by `go run ./bench -report`. Absolute figures differ from machine to machine, and from one hour to the next on\n" +
		"a shared one: compare within this run only. What each row does is in [suite](suite).\n\n- " + strings.Join(conditions, "\n- ") + "\n" +
		"- every effect was counted: figures of work that was lost or done twice are not printed\n" + rs.markdown()
}

// byHand is the end of bench/RESULTS.md, which -report keeps: what is measured
// otherwise.
func byHand(old string) string {
	const heading = "\n## Envelope\n"
	if i := strings.Index(old, heading); i >= 0 {
		return old[i:]
	}
	return ""
}

func (rs results) writeJSON(path string, conditions []string) error {
	encoded, err := json.MarshalIndent(map[string]any{"conditions": conditions, "results": rs}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(encoded, '\n'), 0o644)
}

// svg is a bar chart of the drain, without COPY, beside which all others are the
// same.
func (rs results) svg() string {
	var rows results
	var most float64
	for _, r := range rs {
		if r.Measurement == "drain" && r.Name != "raw: COPY" {
			rows = append(rows, r)
			most = max(most, r.Figures["events/s"].Median)
		}
	}
	const rowHeight, left, width = 26, 330, 420
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="Events drained per second">`+"\n",
		left+width+90, rowHeight*len(rows)+50)
	b.WriteString(`<style>text{font:13px system-ui,sans-serif;fill:#333}.ours{fill:#0f766e}.raw{fill:#9ca3af}.peer{fill:#b45309}` +
		`@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>` + "\n")
	fmt.Fprintf(&b, `<text x="10" y="22" font-weight="bold">drain: events per second, forwarded and handled</text>`+"\n")
	for i, r := range rows {
		class := "peer"
		if strings.HasPrefix(r.Name, "millwright") {
			class = "ours"
		} else if strings.HasPrefix(r.Name, "raw") {
			class = "raw"
		}
		rate := r.Figures["events/s"].Median
		y, bar := 36+i*rowHeight, rate/most*width
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="18" rx="3"/><text x="%.1f" y="%d">%s</text>`+"\n",
			left-10, y+14, strings.ReplaceAll(r.Name, "the subscriber's", "the"), class, left, y, bar, left+bar+6, y+14, number(rate))
	}
	b.WriteString("</svg>\n")
	return b.String()
}
