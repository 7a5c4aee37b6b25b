package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	catalogFile = "internal/events/catalog.go"
	ordersFile  = "internal/events/orders.go"
	ordersTest  = "internal/events/orders_test.go"
)

// repository is a copy of this one with its events and what they need.
type repository struct {
	t   *testing.T
	dir string
}

// setup makes the copy, and commits it.
func setup(t *testing.T) repository {
	t.Helper()
	r := withoutGit(t)
	r.git("init", "--quiet")
	r.commit()
	return r
}

func withoutGit(t *testing.T) repository {
	t.Helper()
	t.Parallel()
	r := repository{t, t.TempDir()}
	for _, dir := range []string{"internal/events", "internal/infra"} {
		require.NoError(t, os.CopyFS(filepath.Join(r.dir, dir), os.DirFS(filepath.Join("..", dir))))
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		r.write(name, string(text))
	}
	return r
}

func (r repository) git(args ...string) {
	r.t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		r.t.Skip("needs git")
	}
	command := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	command.Dir = r.dir
	out, err := command.CombinedOutput()
	require.NoError(r.t, err, "%s", out)
}

func (r repository) commit() {
	r.t.Helper()
	r.git("add", "internal/events")
	r.git("commit", "--quiet", "--message", "test")
}

func (r repository) read(name string) string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, name))
	require.NoError(r.t, err)
	return string(text)
}

func (r repository) write(name, text string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644))
}

// replace changes the first place of a text, or all.
func (r repository) replace(name, old, replacement string, n int) {
	r.t.Helper()
	text := r.read(name)
	require.Contains(r.t, text, old)
	r.write(name, strings.Replace(text, old, replacement, n))
}

type result struct {
	code     int
	out, err string
}

func (r repository) run(args ...string) result {
	var out, err bytes.Buffer
	code := run(r.dir, args, &out, &err)
	return result{code, out.String(), err.String()}
}

// version runs the command, which must succeed.
func (r repository) version(args ...string) string {
	r.t.Helper()
	got := r.run(append([]string{"version"}, args...)...)
	require.Equal(r.t, result{out: got.out}, got)
	return got.out
}

// check vets and tests the events.
func (r repository) check() (string, error) {
	for _, args := range [][]string{{"vet"}, {"test", "-vet=off"}} {
		command := exec.Command("go", append(args, "./internal/events")...)
		command.Dir = r.dir
		if out, err := command.CombinedOutput(); err != nil {
			return string(out), err
		}
	}
	return "", nil
}

// mustPass requires that the events compile and pass their tests.
func (r repository) mustPass() {
	r.t.Helper()
	out, err := r.check()
	require.NoError(r.t, err, "%s", out)
}

// mustFail requires that they compile, and that a test says the text.
func (r repository) mustFail(text string) {
	r.t.Helper()
	out, err := r.check()
	require.Error(r.t, err)
	require.Contains(r.t, out, "--- FAIL: ")
	require.Contains(r.t, out, text)
}
