package main_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/app"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, path))
	require.NoError(t, err)
	return string(content)
}

// settingsVariables are the environment variables that the service reads.
func settingsVariables() []string {
	var names []string
	for _, s := range (app.Config{}).Settings() {
		names = append(names, s.Variable)
	}
	return names
}

// TestReadmeSettings compares README's table with the settings that there are.
func TestReadmeSettings(t *testing.T) {
	t.Parallel()
	var want strings.Builder
	want.WriteString("| variable | default | what it is |\n|---|---|---|\n")
	for _, s := range (app.Config{}).Settings() {
		value := ""
		if s.Default != "" {
			value = "`" + s.Default + "`"
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", s.Variable, value, s.Help)
	}
	_, rest, _ := strings.Cut(read(t, "README.md"), "<!-- settings -->\n")
	table, _, found := strings.Cut(rest, "<!-- end of settings -->")
	require.True(t, found)
	require.Equal(t, want.String(), table)
}

// TestReadmeNumbers checks what README says of the size.
func TestReadmeNumbers(t *testing.T) {
	t.Parallel()
	lines := func(path string) int { return strings.Count(read(t, path), "\n") }
	total := 0
	require.NoError(t, filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// Packages that only tests import don't count, nor do the benchmark and the
		// scaffold, which are no part of a service, and generated code.
		if entry.IsDir() && (strings.HasSuffix(path, "test") || strings.HasSuffix(path, "testkit") || entry.Name() == "bench" || entry.Name() == "scaffold") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "wire_gen.go") {
			return nil
		}
		relative, err := filepath.Rel(repository, path)
		if err == nil {
			total += lines(relative)
		}
		return err
	}))
	numbers := map[string]int{
		"total": total,
		"handler": lines("internal/events/orders.go") + lines("internal/events/catalog.go") +
			lines("internal/handlers/reserve_stock.go") + lines("internal/handlers/consumers.go") + lines("internal/handlers/wire.go"),
	}
	stated := regexp.MustCompile(`<!-- number: (\w+) -->([\d,]+)`).FindAllStringSubmatch(read(t, "README.md"), -1)
	require.Len(t, stated, len(numbers))
	for _, match := range stated {
		n, err := strconv.Atoi(strings.ReplaceAll(match[2], ",", ""))
		require.NoError(t, err)
		require.InEpsilon(t, numbers[match[1]], n, 0.05, "README says %d for %q, it is %d", n, match[1], numbers[match[1]])
	}
}

// TestDocumentationLinks follows the links within the repository.
func TestDocumentationLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	for _, doc := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(read(t, doc), -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(match[1], "://") {
				continue
			}
			at := doc
			if target != "" {
				at = filepath.Join(filepath.Dir(doc), target)
				require.FileExists(t, filepath.Join(repository, at), "%s links to %s", doc, match[1])
			}
			if anchor != "" {
				require.Contains(t, anchors(read(t, at)), anchor, "%s links to %s", doc, match[1])
			}
		}
	}
}

// anchors are the names that GitHub gives to headings.
func anchors(markdown string) []string {
	var found []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(markdown, -1) {
		plain := regexp.MustCompile(`[^\p{L}\d _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		found = append(found, strings.ReplaceAll(plain, " ", "-"))
	}
	return found
}

// TestDocumentationExcerpts compares excerpts of code with what they are from:
// a Go file, or another document whose blocks are compiled.
func TestDocumentationExcerpts(t *testing.T) {
	t.Parallel()
	excerpts := 0
	for _, doc := range documents(t) {
		for _, b := range blocks(t, doc) {
			if b.verb != "from" {
				continue
			}
			excerpts++
			// A diff's lines are indented by their sign.
			source := regexp.MustCompile(`(?m)^[+ ](\t)`).ReplaceAllString(read(t, b.subject), "$1")
			require.Contains(t, source, b.text(), "%s is not in %s", b.at, b.subject)
		}
	}
	require.NotZero(t, excerpts)
}

// TestGuaranteesNameTests makes sure that the tests that docs/guarantees.md
// names exist where it says, and that each promise has one.
func TestGuaranteesNameTests(t *testing.T) {
	t.Parallel()
	const page = "docs/guarantees.md"
	link := regexp.MustCompile("\\[`(\\w+)`\\]\\(([^)]+_test\\.go|[^)]+/brokertest/\\w+\\.go)\\)")
	sections := strings.Split(read(t, page), "\n## ")
	promises := 0
	for _, section := range sections[1:] {
		title, _, _ := strings.Cut(section, "\n")
		tests := link.FindAllStringSubmatch(section, -1)
		if regexp.MustCompile(`^\d\. `).MatchString(title) {
			promises++
			require.NotEmpty(t, tests, "the promise %q has no test", title)
		}
		for _, match := range tests {
			path := filepath.Join(filepath.Dir(page), match[2])
			require.Contains(t, functions(t, path), match[1], "%s: %q names a test that isn't in %s", page, title, path)
		}
		for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(section, -1) {
			require.Contains(t, section, "[`"+name[1]+"`](", "%s names %s without a link", page, name[1])
		}
	}
	require.Equal(t, 9, promises)
}

// functions lists the functions that a file declares.
func functions(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, read(t, path), parser.SkipObjectResolution)
	require.NoError(t, err)
	var names []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			names = append(names, f.Name.Name)
		}
	}
	return names
}
