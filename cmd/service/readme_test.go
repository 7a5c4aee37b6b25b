package main_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/millwright/internal/infra/database/databasetest"
)

// The documentation is run as it is written. In a fenced block of language
// console, a line that begins with "$ " is a command and the lines below it are
// what it prints; "…" stands for any lines. A block of language sh is commands
// only. Commands run one after another, in a folder and with ports and databases
// of their own. An HTML comment above a block changes that:
//
//	<!-- not run: why -->  the block is left out
//	<!-- new session -->   start anew
//	<!-- file: path -->    the block is a new file, in a copy of the repository
//	<!-- edit: path -->    the block is a diff of a file there
//	<!-- from: path -->    the block is an excerpt of a file, see docs_test.go

// TestDocumentation runs every command that README.md and docs show, against the
// binary, and compares what it prints.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "git"} {
		if _, err := exec.LookPath(tool); err != nil {
			require.NotEqual(t, "1", os.Getenv("REQUIRE_SERVICES"), "%s is not installed", tool)
			t.Skipf("%s is not installed", tool)
		}
	}
	binary := filepath.Join(t.TempDir(), "service")
	build(t, repository, binary)
	for _, doc := range documents(t) {
		for n, blocks := range sessions(t, doc) {
			t.Run(fmt.Sprintf("%s/%d", doc, n+1), func(t *testing.T) {
				t.Parallel()
				runSession(t, binary, blocks)
			})
		}
	}
}

// repository is the root of the repository as seen from this package.
const repository = "../.."

func build(t *testing.T, tree, to string) {
	t.Helper()
	command := exec.Command("go", "build", "-o", to, "./cmd/service")
	command.Dir = tree
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
}

// documents lists the files that are checked, as paths in the repository.
func documents(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(repository + "/docs/*.md")
	require.NoError(t, err)
	docs := []string{"README.md"}
	for _, page := range pages {
		docs = append(docs, "docs/"+filepath.Base(page))
	}
	return docs
}

// block is a fenced block.
type block struct {
	at       string // document and line
	language string
	// verb and subject are the comment above it: <!-- verb: subject -->.
	verb, subject string
	fresh         bool // begins a session
	lines         []string
}

func (b block) text() string { return strings.Join(b.lines, "\n") + "\n" }

var comment = regexp.MustCompile(`^<!-- ([a-z ]+?)(?:: (.*))? -->$`)

func blocks(t *testing.T, doc string) []block {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, doc))
	require.NoError(t, err)
	var found []block
	var current *block
	var verb, subject string
	fresh := false
	for n, line := range strings.Split(string(content), "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch match := comment.FindStringSubmatch(line); {
		case isFence && current == nil:
			current = &block{at: fmt.Sprintf("%s:%d", doc, n+1), language: fence, verb: verb, subject: subject, fresh: fresh}
		case isFence:
			found, current = append(found, *current), nil
			verb, subject, fresh = "", "", false
		case current != nil:
			current.lines = append(current.lines, line)
		case match != nil && match[1] == "new session":
			fresh = true
		case match != nil:
			verb, subject = match[1], match[2]
		case line != "":
			verb, subject, fresh = "", "", false
		}
	}
	require.Nil(t, current, "%s: a fence is left open", doc)
	return found
}

// sessions returns the document's blocks that do something, by session.
func sessions(t *testing.T, doc string) [][]block {
	t.Helper()
	var all [][]block
	fresh := true
	for _, b := range blocks(t, doc) {
		fresh = fresh || b.fresh
		runs := b.language == "sh" || b.language == "console" || b.verb == "file" || b.verb == "edit"
		if !runs || b.verb == "not run" || b.verb == "from" {
			require.True(t, b.verb != "" || b.language == "text", "%s: a block of language %q needs a comment that says what it is", b.at, b.language)
			continue
		}
		if fresh {
			all, fresh = append(all, nil), false
		}
		all[len(all)-1] = append(all[len(all)-1], b)
	}
	return all
}

// session is a reader at work.
type session struct {
	t      *testing.T
	dir    string
	copied bool   // dir is a copy of the repository
	binary string // empty: must be built from dir
	env    map[string]string
	// toReal and toShown translate addresses between the document and this run.
	toReal  [][2]string
	toShown [][2]string
	bound   map[string]string // what an id or a time in the document is here
	started []*server
}

func runSession(t *testing.T, binary string, blocks []block) {
	s := &session{t: t, dir: t.TempDir(), binary: binary, env: map[string]string{}, bound: map[string]string{}}
	t.Cleanup(s.stop)
	s.translateAddresses(blocks)
	if slices.ContainsFunc(blocks, func(b block) bool { return b.verb == "file" || b.verb == "edit" }) {
		copyTree(t, s.dir)
		commitTree(t, s.dir)
		s.copied = true
	}
	for _, b := range blocks {
		switch b.verb {
		case "file":
			path := filepath.Join(s.dir, b.subject)
			require.NoFileExists(t, path, b.at)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(b.text()), 0o644))
			s.binary = ""
		case "edit":
			s.edit(b)
			s.binary = ""
		default:
			s.runBlock(b)
		}
	}
}

// What documents show, as each session has ports and databases of its own.
var (
	shownPorts    = []string{"8080", "8081", "8082", "8083"}
	shownPostgres = regexp.MustCompile(`postgres://\S+@\S+:5432/\w+`)
	shownKafka    = "kafka://localhost:9092"
)

func (s *session) translateAddresses(blocks []block) {
	var text strings.Builder
	for _, b := range blocks {
		text.WriteString(b.text())
	}
	translate := func(shown, real string) {
		s.toReal = append(s.toReal, [2]string{shown, real})
		s.toShown = append(s.toShown, [2]string{real, shown})
	}
	if shown := shownPostgres.FindString(text.String()); shown != "" {
		real := databasetest.PostgresURL(s.t)
		s.t.Cleanup(s.stop) // before the database is gone
		translate(shown, real)
		u, err := url.Parse(shown)
		require.NoError(s.t, err)
		s.toShown[len(s.toShown)-1][1] = u.Redacted() // as the service shows it
	}
	if strings.Contains(text.String(), shownKafka) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		require.NoError(s.t, err)
		s.t.Cleanup(cluster.Close)
		s.t.Cleanup(s.stop) // before
		translate(shownKafka, "kafka://"+cluster.ListenAddrs()[0])
	}
	for i, port := range freePorts(s.t, len(shownPorts)) {
		for _, host := range []string{"127.0.0.1:", "localhost:"} {
			translate(host+shownPorts[i], host+port)
		}
	}
	s.env["HTTP_ADDR"], s.env["ADMIN_ADDR"] = s.real("127.0.0.1:8080"), s.real("127.0.0.1:8081")
}

func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		ports = append(ports, port)
	}
	return ports
}

// real turns what the document shows into what it is in this run.
func (s *session) real(text string) string {
	for _, pair := range s.toReal {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return identity.ReplaceAllStringFunc(text, func(shown string) string { return cmp.Or(s.bound[shown], shown) })
}

func (s *session) shown(text string) string {
	for _, pair := range s.toShown {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// copyTree copies the repository's files but for what git and runs leave there.
func copyTree(t *testing.T, to string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(repository, path)
		if err != nil {
			return err
		}
		switch {
		case relative == "data" || relative == ".git" && entry.IsDir():
			return fs.SkipDir
		case relative == ".git": // of a worktree
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, relative), 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, relative), content, 0o644)
	}))
}

// commitTree makes the copy what a clone is: a repository with a commit.
func commitTree(t *testing.T, dir string) {
	t.Helper()
	for _, args := range []string{"init --quiet", "add .", "-c user.name=reader -c user.email=reader@example.com commit --quiet --message copied"} {
		command := exec.Command("git", strings.Fields(args)...)
		command.Dir = dir
		out, err := command.CombinedOutput()
		require.NoError(t, err, "git %s: %s", args, out)
	}
}

// edit applies a diff without line numbers: what it shows without "+" must be
// in the file once.
func (s *session) edit(b block) {
	var before, after []string
	for _, line := range b.lines {
		require.Regexp(s.t, `^[-+ ]`, line, "%s: not a line of a diff", b.at)
		if line[0] != '+' {
			before = append(before, line[1:])
		}
		if line[0] != '-' {
			after = append(after, line[1:])
		}
	}
	path := filepath.Join(s.dir, b.subject)
	content, err := os.ReadFile(path)
	require.NoError(s.t, err, b.at)
	old := strings.Join(before, "\n") + "\n"
	require.Equal(s.t, 1, strings.Count(string(content), old), "%s: the lines to change are not in %s", b.at, b.subject)
	changed := strings.Replace(string(content), old, strings.Join(after, "\n")+"\n", 1)
	require.NoError(s.t, os.WriteFile(path, []byte(changed), 0o644))
}

func (s *session) runBlock(b block) {
	command, expected, compare := "", []string(nil), false
	run := func() {
		if command != "" {
			s.run(b.at, command, strings.Join(expected, "\n"), compare)
		}
		command, expected = "", nil
	}
	for _, line := range b.lines {
		next, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case b.language == "sh" && line != "":
			command = line
			run()
		case b.language == "console" && isCommand:
			run()
			command, compare = next, true
		case b.language == "console":
			expected = append(expected, line)
		}
	}
	run()
}

var (
	serves     = regexp.MustCompile(`^((?:[A-Z_]+=\S+ )*)go run \./cmd/service( serve| --migrate)*$`)
	repeatable = regexp.MustCompile(`^curl (-i )?\S+$|service (dlq list|dlq show|outbox status)`)
)

// patience bounds how long anything may take to come true.
const patience = 30 * time.Second

func (s *session) run(at, command, expected string, compare bool) {
	s.t.Logf("%s: $ %s", at, command)
	if assignments, ok := strings.CutPrefix(command, "export "); ok {
		for assignment := range strings.FieldsSeq(assignments) {
			name, value, _ := strings.Cut(assignment, "=")
			s.env[name] = s.real(value)
		}
		return
	}
	if s.copied && strings.HasPrefix(command, "go ") && !strings.Contains(command, "./cmd/service") {
		s.binary = "" // it may have written code, or what is built in
	}
	if strings.Contains(command, "go run ./cmd/service") && s.binary == "" {
		s.binary = filepath.Join(s.t.TempDir(), "service")
		build(s.t, s.dir, s.binary)
	}
	if match := serves.FindStringSubmatch(command); match != nil {
		s.serve(at, command, expected, compare)
		return
	}
	deadline := time.Now().Add(patience)
	for {
		out := s.shell(at, command, strings.HasSuffix(expected, "\nexit status 1"))
		if !compare {
			return
		}
		wrong := s.compare(expected, out)
		if wrong == "" {
			return
		}
		if !repeatable.MatchString(command) || time.Now().After(deadline) {
			require.Fail(s.t, "the document shows something else", "%s: $ %s\n%s", at, command, wrong)
		}
		time.Sleep(50 * time.Millisecond) // what it shows takes a moment to come true
	}
}

func (s *session) prepare(ctx context.Context, command string) *exec.Cmd {
	command = strings.ReplaceAll(s.real(command), "go run ./cmd/service", s.binary)
	c := exec.CommandContext(ctx, "bash", "-c", command)
	c.Dir = s.dir
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); !slices.Contains(settingsVariables(), name) {
			c.Env = append(c.Env, variable)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.env)) {
		c.Env = append(c.Env, name+"="+s.env[name])
	}
	return c
}

// shell runs a command that ends. What curl writes to standard error is not
// part of the answer.
func (s *session) shell(at, command string, mayFail bool) string {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute) // go tool wire may have to be built
	defer cancel()
	c := s.prepare(ctx, command)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if !strings.HasPrefix(command, "curl ") {
		c.Stderr = &stdout
	}
	err := c.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && mayFail {
		// What go run adds to it.
		return fmt.Sprintf("%s%s\n", stdout.String(), failed.ProcessState)
	}
	require.NoError(s.t, err, "%s: $ %s\n%s%s", at, command, &stdout, &stderr)
	return stdout.String()
}

// server is a service that was started and goes on.
type server struct {
	command *exec.Cmd
	out     output
	errors  output
	exited  chan struct{}
}

// serve starts the service and waits until it has printed where it is, or has
// refused to start.
func (s *session) serve(at, command, expected string, compare bool) {
	v := &server{exited: make(chan struct{})}
	v.command = s.prepare(context.Background(), strings.Replace(command, "go run", "exec go run", 1))
	v.command.Stdout, v.command.Stderr = &v.out, &v.errors
	require.NoError(s.t, v.command.Start())
	s.started = append(s.started, v)
	go func() {
		_ = v.command.Wait()
		close(v.exited)
	}()
	require.Eventually(s.t, func() bool {
		select {
		case <-v.exited:
			return true
		default:
			return strings.Contains(v.out.String(), "\nbroker ")
		}
	}, patience, 10*time.Millisecond, "%s: the service doesn't start: %s", at, &v.errors)
	out := v.out.String()
	if out == "" {
		out = v.errors.String()
	}
	if wrong := s.compare(expected, out); compare && wrong != "" {
		require.Fail(s.t, "the document shows something else", "%s: $ %s\n%s", at, command, wrong)
	}
}

// stop ends the services as Ctrl-C does, and wants them to end well. It may be
// called again.
func (s *session) stop() {
	for _, v := range s.started {
		_ = v.command.Process.Signal(syscall.SIGTERM)
	}
	for _, v := range s.started {
		select {
		case <-v.exited:
		case <-time.After(patience):
			s.t.Errorf("a service doesn't stop: %s", &v.out)
			_ = v.command.Process.Kill()
			continue
		}
		if strings.Contains(v.out.String(), "\nbroker ") && v.command.ProcessState.ExitCode() != 0 {
			s.t.Errorf("a service ended with %s: %s", v.command.ProcessState, &v.errors)
		}
	}
	s.started = nil
}

// identity matches the ids and times that stand for one value of a run, the same
// wherever they occur in a document.
var identity = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`)

// variable matches all that differs from run to run.
var variable = regexp.MustCompile(strings.Join([]string{
	identity.String(),
	`\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d)?`,
	`\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`,
	`Content-Length: \d+`,
	`\d+\.\d+s\b`,
}, "|"))

// compare says how out differs from what the document shows, and remembers what
// its ids and times are in this run.
func (s *session) compare(expected, out string) string {
	expected, out = normal(expected), normal(s.shown(out))
	var pattern strings.Builder
	var names []string
	rest := expected
	for rest != "" {
		at := variable.FindStringIndex(rest)
		if at == nil {
			at = []int{len(rest), len(rest)}
		}
		pattern.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		if name := rest[at[0]:at[1]]; name != "" {
			names = append(names, name)
			pattern.WriteString("(" + variable.String() + ")")
		}
		rest = rest[at[1]:]
	}
	any := regexp.MustCompile(`(?m)^[ \t]*…$`).ReplaceAllString(pattern.String(), `(?s:.*)`)
	found := regexp.MustCompile(`\A` + any + `\z`).FindStringSubmatch(out)
	if found == nil {
		return fmt.Sprintf("shown:\n%s\n\nprinted:\n%s", expected, out)
	}
	bound := maps.Clone(s.bound)
	for i, name := range names {
		if real, known := bound[name]; known && real != found[i+1] && identity.MatchString(name) {
			return fmt.Sprintf("%s was %s before, and is %s now:\n%s", name, real, found[i+1], out)
		}
		bound[name] = found[i+1]
	}
	s.bound = bound
	return ""
}

// normal makes JSON compact, which documents show indented, and the columns of
// tables equally far apart.
func normal(text string) string {
	text = strings.TrimSpace(text)
	head, body := "", text
	if strings.HasPrefix(text, "HTTP/") {
		head, body, _ = strings.Cut(strings.ReplaceAll(text, "\r", ""), "\n\n")
		head += "\n\n"
	}
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(body)) == nil {
		body = compact.String()
	}
	return regexp.MustCompile(`(\S) {2,}`).ReplaceAllString(head+body, "$1  ")
}

// output is a buffer that a process writes to while it is read.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
