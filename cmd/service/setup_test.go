package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/millwright/internal/app/apptest"
	"example.com/millwright/internal/infra/broker/kafka"
	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

// binary is the service, built once for all tests.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "service")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "service")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the service: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// bundle is where a service runs: a folder, a database and a broker of its own.
type bundle struct {
	t        *testing.T
	dir      string
	database string
	env      []string
	// lag is for a broker outside the database.
	lag func(context.Context) (int64, error)
}

// groups are the service's consumer groups on its one topic.
var groups = []string{"millwright.reserve-stock", "millwright.send-confirmation", "millwright.sales-report"}

func setup(t *testing.T, databaseURL string) *bundle {
	t.Helper()
	b := &bundle{t: t, dir: t.TempDir(), database: databaseURL}
	b.set("DATABASE_URL", databaseURL)
	b.set("HTTP_ADDR", "127.0.0.1:0")
	b.set("ADMIN_ADDR", "127.0.0.1:0")
	return b
}

func (b *bundle) set(variable, value string) { b.env = append(b.env, variable+"="+value) }

// lagger counts what all groups have yet to get.
type lagger interface {
	Lag(ctx context.Context, group, topic string) (int64, error)
}

func sumLag(of lagger) func(context.Context) (int64, error) {
	return func(ctx context.Context) (sum int64, err error) {
		for _, group := range groups {
			n, err := of.Lag(ctx, group, "orders")
			if err != nil {
				return 0, err
			}
			sum += n
		}
		return sum, nil
	}
}

func onSQLite(t *testing.T) *bundle {
	t.Helper()
	return setup(t, databasetest.SQLiteURL(t))
}

func onPostgres(t *testing.T) *bundle {
	t.Helper()
	b := setup(t, databasetest.PostgresURL(t))
	b.must("migrate")
	return b
}

// onKafka is Postgres with a Kafka that lives in the test's process.
func onKafka(t *testing.T) *bundle {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	b := setup(t, databasetest.PostgresURL(t))
	b.set("BROKER", "kafka")
	b.set("BROKER_URL", "kafka://"+strings.Join(cluster.ListenAddrs(), ","))
	b.must("migrate")
	broker, err := kafka.New(t.Context(), cluster.ListenAddrs(), kafka.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	b.lag = sumLag(broker)
	return b
}

// onTwoDatabases keeps the queue in another database than the orders.
func onTwoDatabases(t *testing.T) *bundle {
	t.Helper()
	b := setup(t, databasetest.PostgresURL(t))
	queue := databasetest.PostgresURL(t)
	b.set("BROKER_URL", queue)
	b.must("migrate")
	db, err := database.Open(t.Context(), database.Config{URL: queue})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	b.lag = sumLag(sqlqueue.New(db, sqlqueue.Config{}, slog.New(slog.DiscardHandler)))
	return b
}

// ledger opens the service's database.
func (b *bundle) ledger() apptest.Ledger {
	b.t.Helper()
	db, err := database.Open(b.t.Context(), database.Config{URL: b.database})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, db.Close()) })
	return apptest.Ledger{DB: db, Lag: b.lag}
}

func (b *bundle) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	return cmd
}

// result is what a command left behind.
type result struct {
	code     int
	out, err string
}

func (b *bundle) run(args ...string) result {
	b.t.Helper()
	var out, errs bytes.Buffer
	cmd := b.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Start()
	require.NoError(b.t, err)
	stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	_ = cmd.Wait() // the exit code says it
	return result{code: cmd.ProcessState.ExitCode(), out: out.String(), err: errs.String()}
}

// must runs a command that has to succeed, and returns what it printed.
func (b *bundle) must(args ...string) string {
	b.t.Helper()
	r := b.run(args...)
	require.Equal(b.t, result{code: exitDone, out: r.out}, r, args)
	return r.out
}

// process is a running service.
type process struct {
	b      *bundle
	cmd    *exec.Cmd
	stderr *buffer
	exited chan struct{}

	mu         sync.Mutex
	stdout     strings.Builder
	api, admin string
}

// start starts the service, without waiting for it.
func (b *bundle) start(args ...string) *process {
	b.t.Helper()
	p := &process{b: b, cmd: b.command(args...), stderr: &buffer{}, exited: make(chan struct{})}
	out, err := p.cmd.StdoutPipe()
	require.NoError(b.t, err)
	p.cmd.Stderr = p.stderr
	require.NoError(b.t, p.cmd.Start())
	go func() {
		defer close(p.exited)
		p.read(out)
		_ = p.cmd.Wait()
	}()
	b.t.Cleanup(func() {
		p.kill()
		if b.t.Failed() {
			b.t.Logf("the log of process %d:\n%s", p.cmd.Process.Pid, p.remarkable())
		}
	})
	return p
}

// serve starts the service and waits until it listens.
func (b *bundle) serve(args ...string) *process {
	b.t.Helper()
	p := b.start(args...)
	apptest.Eventually(b.t, func() string {
		select {
		case <-p.exited:
			require.FailNow(b.t, "the service did not start", p.stderr.String())
		default:
		}
		if p.url() == "" || !strings.Contains(p.printed(), "broker") {
			return "the service has not printed where it listens: " + p.stderr.String()
		}
		return ""
	})
	return p
}

func (p *process) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.mu.Lock()
		fmt.Fprintln(&p.stdout, lines.Text())
		if name, url, ok := strings.Cut(lines.Text(), " http://"); ok {
			switch strings.TrimSpace(name) {
			case "api":
				p.api = "http://" + url
			case "admin":
				p.admin = "http://" + url
			}
		}
		p.mu.Unlock()
	}
}

func (p *process) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

// url is where the API is, empty until the service has said so.
func (p *process) url() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.api
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails if it has ended
	<-p.exited
}

// stop ends the process with SIGTERM and checks that it went quietly.
func (p *process) stop() {
	p.b.t.Helper()
	require.NoError(p.b.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		require.FailNow(p.b.t, "the service did not stop on SIGTERM")
	}
	require.Equal(p.b.t, exitDone, p.cmd.ProcessState.ExitCode(), p.stderr.String())
	require.Contains(p.b.t, p.stderr.String(), `"msg":"stopped"`)
}

// requireQuietLog checks that nothing went wrong but what is allowed: patterns
// of messages.
func (p *process) requireQuietLog(allowed ...string) {
	p.b.t.Helper()
	for line := range strings.Lines(p.stderr.String()) {
		var entry struct{ Level, Msg string }
		require.NoError(p.b.t, json.Unmarshal([]byte(line), &entry), "a line of the log is not JSON: %s", line)
		if entry.Level == "INFO" {
			continue
		}
		ok := false
		for _, pattern := range allowed {
			ok = ok || regexp.MustCompile(pattern).MatchString(entry.Msg)
		}
		require.True(p.b.t, ok, "unexpected in the log: %s", line)
	}
}

// call sends a request to the API and returns the answer's status and JSON.
func (p *process) call(method, path, body string) (int, map[string]any) {
	p.b.t.Helper()
	return request(p.b.t, method, p.url()+path, body)
}

func request(t *testing.T, method, url, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	var answer map[string]any
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	return response.StatusCode, answer
}

// remarkable is the end of the log without the mails.
func (p *process) remarkable() string {
	var lines []string
	for line := range strings.Lines(p.stderr.String()) {
		if !strings.Contains(line, "mail not sent") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

// buffer can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
