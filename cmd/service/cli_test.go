package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database/databasetest"
)

const hint = "Run `service --help` for the commands and settings.\n"

// TestErrors compares what a command says, and its exit code, word for word.
func TestErrors(t *testing.T) {
	t.Parallel()
	b := onSQLite(t)
	b.must("migrate")
	for name, c := range map[string]struct {
		args string
		code int
		err  string
	}{
		"unknown command":     {"frobnicate", exitUsage, "service: unexpected argument frobnicate\n" + hint},
		"unknown flag":        {"dlq list --frob", exitUsage, "service: unknown flag --frob\n" + hint},
		"no subcommand":       {"dlq", exitUsage, `service: expected one of "list", "show", "replay", "discard"` + "\n" + hint},
		"wrong output":        {"dlq list -o xml", exitUsage, `service: --output must be one of "table","json" but got "xml"` + "\n" + hint},
		"wrong state":         {"dlq list --state gone", exitUsage, `service: --state must be one of "dead","scheduled","replaying","resolved","discarded","all" but got "gone"` + "\n" + hint},
		"show without id":     {"dlq show", exitUsage, `service: expected "<id>"` + "\n" + hint},
		"show no number":      {"dlq show x", exitUsage, `service: <id>: expected a valid 64 bit int but got "x"` + "\n" + hint},
		"show unknown id":     {"dlq show 7", exitNotFound, "service: deadletter: 7: no such dead letter\n"},
		"list by nobody":      {"dlq list --consumer nobody", exitUsage, `service: --consumer "nobody": unknown consumer: there are reserve-stock, send-confirmation, sales-report` + "\n"},
		"replay nothing":      {"dlq replay", exitUsage, "service: deadletter: replay: nothing selected: give ids, a consumer, an event type, or all\n"},
		"replay unknown id":   {"dlq replay 99", exitNotFound, "service: deadletter: replay: no such dead letter: of the 1 ids given, 0 are in a state that allows it ('dead', 'discarded')\n"},
		"replay by nobody":    {"dlq replay --consumer nobody", exitUsage, `service: --consumer "nobody": unknown consumer: there are reserve-stock, send-confirmation, sales-report` + "\n"},
		"replay all of none":  {"dlq replay --all", exitNotFound, "service: nothing to replay: no such dead letter matches\n"},
		"discard nothing":     {"dlq discard --reason x", exitUsage, "service: deadletter: discard: nothing selected: give ids, a consumer, an event type, or all\n"},
		"discard unreasoned":  {"dlq discard 1", exitUsage, "service: missing flags: --reason=STRING\n" + hint},
		"discard unknown id":  {"dlq discard 1 --reason x", exitNotFound, "service: deadletter: discard: no such dead letter: of the 1 ids given, 0 are in a state that allows it ('dead')\n"},
		"discard all of none": {"dlq discard --all --reason x", exitNotFound, "service: nothing to discard: no such dead letter matches\n"},
		"discard by nobody":   {"dlq discard --consumer nobody --reason x", exitUsage, `service: --consumer "nobody": unknown consumer: there are reserve-stock, send-confirmation, sales-report` + "\n"},
		"resend nothing":      {"outbox resend", exitUsage, "service: outbox resend: nothing selected: give ids, or --all\n"},
		"resend unknown id":   {"outbox resend 5", exitNotFound, "service: outbox: resend: event 5: not set aside: see `service outbox status`\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, result{code: c.code, err: c.err}, b.run(strings.Fields(c.args)...))
		})
	}
}

// TestWrongSettings reports all of them at once, each with its variable, the
// value and the fix.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	b := setup(t, "mysql://bob:s3cret@db/shop")
	for variable, value := range map[string]string{
		"BROKER": "rabbit", "LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "SHUTDOWN_TIMEOUT": "soon", "KAFKA_PARTITIONS": "many",
		"OUTBOX_ATTEMPTS": "0", "PROCESSED_RETENTION": "-1h", "MAIL_FROM": "Ada <ada@example.com>", "SERVICE_NAME": "My Service",
		"SMTP_URL": "http://bob:s3cret@mail", "HTTP_ADDR": "8080",
	} {
		b.set(variable, value)
	}
	r := b.run()
	require.Equal(t, exitUsage, r.code)
	require.Empty(t, r.out)
	require.Equal(t, `service: the settings are wrong:
KAFKA_PARTITIONS: "many": give a whole number
SHUTDOWN_TIMEOUT: "soon": give a duration such as 10s, 5m or 24h
BROKER: "rabbit": use sqlqueue or kafka
DATABASE_URL: "mysql://bob:xxxxx@db/shop": not a database URL: give postgres://user:password@host/name or sqlite:path/to/file.db
HTTP_ADDR: "8080": give host:port, such as 127.0.0.1:8080
LOG_FORMAT: "xml": use text, json or auto
LOG_LEVEL: "loud": use debug, info, warn or error
MAIL_FROM: "Ada <ada@example.com>": give a bare address such as orders@example.com
OUTBOX_ATTEMPTS: "0": give 1 or more
PROCESSED_RETENTION: "-1h0m0s": give a duration above zero, such as 10s or 24h
SERVICE_NAME: "My Service": use lower-case letters, digits and hyphens, such as order-service
SMTP_URL: "http://bob:xxxxx@mail": the scheme is "http", want smtp or smtps
`, r.err)
}

// TestFlagsWin over the environment, which wins over the defaults.
func TestFlagsWin(t *testing.T) {
	t.Parallel()
	b := onSQLite(t)
	b.set("SERVICE_NAME", "from-environment")
	require.Contains(t, b.must("config"), "from-environment")
	out := b.must("config", "--service-name", "from-flag")
	require.Contains(t, out, "from-flag")
	require.NotContains(t, out, "from-environment")
	require.Regexp(t, `(?m)^BROKER +sqlqueue +\(default\)$`, out)
}

// TestSecrets are never printed, whatever goes wrong.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	for name, url := range map[string]string{
		"no server":        "postgres://bob:s3cret@127.0.0.1:1/shop",
		"in a parameter":   "postgres://127.0.0.1:1/shop?user=bob&password=s3cret",
		"not a URL":        "postgres://bob:s3cret@127.0.0.1:1/%zz",
		"not a port":       "postgres://bob:s3cret@127.0.0.1:port/shop",
		"a bad parameter":  "postgres://bob:s3cret@127.0.0.1:1/shop?sslmode=maybe",
		"no slashes":       "postgres:bob:s3cret@127.0.0.1:1/shop",
		"a space before":   " postgres://bob:s3cret@127.0.0.1:1/shop",
		"unknown scheme":   "oracle://bob:s3cret@127.0.0.1:1/shop",
		"no scheme":        "bob:s3cret@127.0.0.1:1/shop",
		"key-value string": "host=127.0.0.1 port=1 user=bob password=s3cret",
		"a space inside":   "postgres://bob:s3cret word@127.0.0.1:1/shop",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, url)
			for _, args := range [][]string{{}, {"config"}, {"config", "-o", "json"}, {"migrate"}, {"dlq", "list"}} {
				r := b.run(args...)
				require.NotContains(t, r.out+r.err, secret, args)
				require.NotEmpty(t, r.out+r.err, args)
			}
		})
	}
}

// TestConfig masks what is secret and says where each value comes from.
func TestConfig(t *testing.T) {
	t.Parallel()
	b := setup(t, "postgres://bob:s3cret@db/shop")
	b.set("SMTP_URL", "smtp://mailer:s3cret@mail:587")
	out := b.must("config")
	require.Regexp(t, `^VARIABLE +VALUE\n`, out)
	require.Regexp(t, `(?m)^DATABASE_URL +postgres://bob:xxxxx@db/shop$`, out)
	require.Regexp(t, `(?m)^SMTP_URL +smtp://mailer:xxxxx@mail:587$`, out)
	require.Regexp(t, `(?m)^SHUTDOWN_TIMEOUT +10s +\(default\)$`, out)
	require.NotContains(t, out, "s3cret")

	var settings []struct{ Variable, Value, Default, Help string }
	require.NoError(t, json.Unmarshal([]byte(b.must("config", "-o", "json")), &settings))
	values := map[string]string{}
	for _, s := range settings {
		require.NotEmpty(t, s.Help, s.Variable)
		values[s.Variable] = s.Value
	}
	require.Equal(t, "postgres://bob:xxxxx@db/shop", values["DATABASE_URL"])
	require.Equal(t, "127.0.0.1:0", values["HTTP_ADDR"])
	require.Equal(t, "168h", values["PROCESSED_RETENTION"])
	require.Equal(t, strings.Count(out, "\n")-1, len(settings))
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	b := onSQLite(t)
	require.Regexp(t, `^example\.com/millwright \S+( [0-9a-f]{40})? go1\.\d+(\.\d+)?\n$`, b.must("version"))
	help := b.must("--help")
	require.Contains(t, help, "Usage: service <command> [flags]")
	for _, want := range []string{
		"serve", "migrate", "dlq list", "dlq show", "dlq replay", "dlq discard", "outbox status", "outbox resend", "events graph", "config", "version",
		"$DATABASE_URL", "$BROKER", "$BROKER_URL", "$HTTP_ADDR", "$ADMIN_ADDR", "$SHUTDOWN_TIMEOUT", "$SMTP_URL",
	} {
		require.Contains(t, help, want)
	}
	require.Contains(t, b.must("dlq", "replay", "--help"), "Send dead letters back to the consumer that failed.")
}

// TestSchema: a Postgres with an old schema is not touched without being asked.
func TestSchema(t *testing.T) {
	t.Parallel()
	b := setup(t, databasetest.PostgresURL(t))
	const refused = "service: the database schema is older than this build: infra is at version 0, this build needs 1: run `service migrate`, or start with --migrate\n"
	require.Equal(t, result{code: exitFailed, err: refused}, b.run())
	require.Equal(t, result{code: exitFailed, err: refused}, b.run("dlq", "list"))
	require.Equal(t, result{code: exitFailed, err: refused}, b.run("outbox", "status"))
	require.Equal(t, "applied infra/00001_infra.sql\napplied service/00001_orders.sql\napplied queue/00001_queue.sql\n", b.must("migrate"))
	require.Equal(t, "the schema is up to date\n", b.must("migrate"))
	require.Equal(t, "no dead letters\n", b.must("dlq", "list"))
	b.serve().stop()

	other := setup(t, databasetest.PostgresURL(t))
	p := other.serve("serve", "--migrate")
	require.Contains(t, p.stderr.String(), `"msg":"migrated the database"`)
	p.stop()
}

// TestStart fails with a reason.
func TestStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, taken.Close()) })
	for name, c := range map[string]struct {
		variable, value string
		code            int
		err             string
	}{
		"API's port in use":   {"HTTP_ADDR", taken.Addr().String(), exitFailed, "service: HTTP_ADDR: listen tcp " + taken.Addr().String() + ": bind: address already in use\n"},
		"admin's port in use": {"ADMIN_ADDR", taken.Addr().String(), exitFailed, "service: ADMIN_ADDR: listen tcp " + taken.Addr().String() + ": bind: address already in use\n"},
		"both on one port":    {"HTTP_ADDR", "127.0.0.1:7777", exitUsage, "service: the settings are wrong:\nADMIN_ADDR: \"127.0.0.1:7777\": the API is there (HTTP_ADDR): give another port\n"},
		"dedupe window": {"PROCESSED_RETENTION", "1m", exitUsage, "service: the settings don't fit together: PROCESSED_RETENTION: \"1m0s\": shorter than the 3m4.65s " +
			"that the retries of one event can take, so a duplicate could be applied twice: give 3m4.65s or more\n"},
		"Kafka without URL": {"BROKER", "kafka", exitUsage, "service: the settings are wrong:\nBROKER_URL: \"\": with BROKER=kafka give kafka://host:9092\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onSQLite(t)
			b.must("migrate")
			b.set(c.variable, c.value)
			if name == "both on one port" {
				b.set("ADMIN_ADDR", c.value)
			}
			require.Equal(t, result{code: c.code, err: c.err}, b.run())
		})
	}
}
