package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	values := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, 20: 1, 21: 2, 50: 3, 99: 5, 100: 5} {
		if got := percentile(values, p); got != want {
			t.Errorf("percentile %v of %v is %v, want %v", p, values, got, want)
		}
	}
	if values[0] != 5 {
		t.Error("the values were reordered")
	}
}

func taken() results {
	figure := func(measurement, name string, rates ...float64) result {
		var samples []sample
		for _, r := range rates {
			samples = append(samples, sample{"events/s": r})
		}
		return newResult(measurement0(measurement), name, samples)
	}
	return results{
		figure("drain", "raw: consume", 100_000), figure("drain", "millwright", 9000, 12_000, 10_000),
		figure("drain", "stock Watermill", 400), figure("drain", "stock Watermill, tuned", 1000), figure("drain", "River", 500),
		figure("drain", "raw: COPY", 1_000_000), // not in the chart
		figure("forward", "millwright", 0.5),
	}
}

func measurement0(name string) measurement { return measurement{name: name, what: "what"} }

func TestTable(t *testing.T) {
	t.Parallel()
	text := taken().markdown()
	for _, want := range []string{
		"### drain", "| | events/s | min–max | × stock's best | × River's best |",
		"| millwright | 10,000 | 9,000–12,000 | 10.00 | 20.00 |", "### forward", "| millwright | 0.5 | 0.5–0.5 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "results.json")
	if err := taken().writeJSON(path, []string{"a condition"}); err != nil {
		t.Fatal(err)
	}
	encoded, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var decoded struct{ Results results }
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	if got := decoded.Results[1].Figures["events/s"]; got != (spread{10_000, 9000, 12_000}) {
		t.Errorf("read %v", got)
	}
	chart := taken().svg()
	if !strings.HasPrefix(chart, "<svg") || strings.Count(chart, "<rect") != 5 || !strings.Contains(chart, ">10,000<") {
		t.Error(chart)
	}
	if report := taken().report([]string{"a condition"}); !strings.Contains(report, "- a condition\n") {
		t.Error(report)
	}
}

func TestWhatIsWrittenByHandIsKept(t *testing.T) {
	t.Parallel()
	const envelope = "\n## Envelope\n\na table\n"
	for old, want := range map[string]string{"": "", "# Results\n": "", "# Results\n" + envelope: envelope} {
		if got := byHand(old); got != want {
			t.Errorf("kept %q of %q, want %q", got, old, want)
		}
	}
}
