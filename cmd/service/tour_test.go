package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/app/apptest"
)

// TestTour is the tour of the README: an order and what becomes of it, an order
// that fails, and how an operator gets it through.
func TestTour(t *testing.T) {
	t.Parallel()
	for name, on := range map[string]func(*testing.T) *bundle{
		"sqlite": onSQLite, "postgres": onPostgres, "postgres and kafka": onKafka, "two databases": onTwoDatabases,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tour(t, on(t))
		})
	}
}

const teaOrder = `{"customer":"Ada","email":"ada@example.com","items":[{"sku":"tea","quantity":2,"unit_price":450}]}`

func tour(t *testing.T, b *bundle) {
	p := b.serve()
	require.Regexp(t, `^api    http://127\.0\.0\.1:\d+\nadmin  http://127\.0\.0\.1:\d+\ndata   \S+\nbroker \S.*\n$`, p.printed())

	status, answer := p.call("PUT", "/stock/tea", `{"quantity":100}`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, map[string]any{"sku": "tea", "available": 100.0}, answer)

	good := p.place(teaOrder)
	order := p.until(good, func(order map[string]any) bool {
		return order["stock_reserved_at"] != nil && order["confirmation_sent_at"] != nil
	})
	require.Equal(t, "reserved", order["status"])
	var times []time.Time
	for _, field := range []string{"placed_at", "stock_reserved_at", "confirmation_sent_at"} {
		at, err := time.Parse(time.RFC3339, order[field].(string))
		require.NoError(t, err, field)
		times = append(times, at)
	}
	require.False(t, times[1].Before(times[0]) || times[2].Before(times[0]), times)
	require.WithinDuration(t, time.Now(), times[0], time.Minute)

	apptest.Eventually(t, func() string {
		_, report := p.call("GET", "/reports/sales", "")
		want := fmt.Sprintf(`map[days:[map[day:%s orders:1 revenue:900 units:2]]]`, times[0].UTC().Format(time.DateOnly))
		if got := fmt.Sprint(report); got != want {
			return got + " should be " + want
		}
		return ""
	})
	_, level := p.call("GET", "/stock/tea", "")
	require.Equal(t, 98.0, level["available"])
	require.Equal(t, "no dead letters\n", b.must("dlq", "list"))

	bad := tourFailure(t, b, p)
	tourDiscard(t, b, p)

	require.Equal(t, 1, confirmations(p, good), "confirmations of the first order")
	require.Equal(t, 1, confirmations(p, bad), "confirmations of the replayed order")
	require.JSONEq(t, `{"unsent":0,"oldest_unsent":null,"retrying":0,"set_aside":[]}`, b.must("outbox", "status", "-o", "json"))
	require.Equal(t, "unsent     0\noldest     -\nretrying   0\nset aside  0\n", b.must("outbox", "status"))

	status, ready := request(t, "GET", p.admin+"/readyz", "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, map[string]any{"status": "ready", "checks": map[string]any{"database": "ok", "migrations": "ok", "broker": "ok"}}, ready)

	p.stop()
	p.requireQuietLog("^attempt failed$", "^event became a dead letter$")
}

// tourFailure is an order of something that isn't there: it fails for good in
// one consumer, and is replayed to that one once the stock has come.
func tourFailure(t *testing.T, b *bundle, p *process) string {
	bad := p.place(strings.ReplaceAll(teaOrder, "tea", "unobtainium"))
	cause := "reserve stock: not enough stock of unobtainium: 2 wanted, 0 available"
	var listed string
	apptest.Eventually(t, func() string {
		if listed = b.must("dlq", "list"); !strings.Contains(listed, cause) {
			return listed
		}
		return ""
	})
	row := regexp.MustCompile(`^ID +STATE +CONSUMER +EVENT +KEY +ATTEMPTS +LAST FAILED +ERROR
(\d+) +dead +reserve-stock +orders\.placed v2 +` + bad + ` +1 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +` + cause + "\n$").FindStringSubmatch(listed)
	require.NotNil(t, row, listed)
	id := row[1]

	shown := b.must("dlq", "show", id)
	require.Regexp(t, `(?m)^id            `+id+`$`, shown)
	require.Regexp(t, `(?m)^state         dead$`, shown)
	require.Regexp(t, `(?m)^consumer      reserve-stock$`, shown)
	require.Regexp(t, `(?m)^topic         orders$`, shown)
	require.Regexp(t, `(?m)^event         orders\.placed v2$`, shown)
	require.Regexp(t, `(?m)^key           `+bad+`$`, shown)
	require.Regexp(t, `(?m)^error         `+cause+`$`, shown)
	require.Contains(t, shown, "consumer.permanent: not enough stock of unobtainium")
	require.Contains(t, shown, "\nevent, as received:\n{\n")
	require.Contains(t, shown, `"sku": "unobtainium"`)
	require.NotContains(t, shown, "stack:")

	order := p.until(bad, func(order map[string]any) bool { return order["confirmation_sent_at"] != nil })
	require.Equal(t, "placed", order["status"])
	require.Nil(t, order["stock_reserved_at"])

	status, _ := p.call("PUT", "/stock/unobtainium", `{"quantity":5}`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "replaying 1 dead letter: running instances pick them up, see `service dlq list --state all`\n",
		b.must("dlq", "replay", "--consumer", "reserve-stock", "--reason", "stock has come"))
	order = p.until(bad, func(order map[string]any) bool { return order["stock_reserved_at"] != nil })
	require.Equal(t, "reserved", order["status"])

	apptest.Eventually(t, func() string {
		var letters []map[string]any
		require.NoError(t, json.Unmarshal([]byte(b.must("dlq", "list", "--state", "all", "-o", "json")), &letters))
		require.Len(t, letters, 1)
		if letters[0]["state"] != "resolved" {
			return fmt.Sprint(letters)
		}
		require.Equal(t, 1.0, letters[0]["replays"])
		require.NotNil(t, letters[0]["closed_at"])
		return ""
	})
	return bad
}

// tourDiscard gives up on an order that nothing can help.
func tourDiscard(t *testing.T, b *bundle, p *process) {
	hopeless := p.place(strings.ReplaceAll(teaOrder, "tea", "nonsense"))
	var letters []struct {
		ID           int64
		PartitionKey string `json:"partition_key"`
	}
	apptest.Eventually(t, func() string {
		out := b.must("dlq", "list", "--consumer", "reserve-stock", "--type", "orders.placed", "--output", "json")
		require.NoError(t, json.Unmarshal([]byte(out), &letters))
		if len(letters) == 0 {
			return out
		}
		return ""
	})
	require.Len(t, letters, 1)
	require.Equal(t, hopeless, letters[0].PartitionKey)
	require.Equal(t, "discarded 1 dead letter\n", b.must("dlq", "discard", fmt.Sprint(letters[0].ID), "--reason", "a test"))
	require.Equal(t, "no dead letters\n", b.must("dlq", "list"))
	require.Contains(t, b.must("dlq", "list", "--state", "discarded"), "nonsense")
}

// place sends an order and returns its id.
func (p *process) place(body string) string {
	p.b.t.Helper()
	status, order := p.call("POST", "/orders", body)
	require.Equal(p.b.t, http.StatusCreated, status, order)
	require.Equal(p.b.t, "placed", order["status"])
	return order["id"].(string)
}

// until waits until the order is as it should be, and returns it.
func (p *process) until(id string, ok func(order map[string]any) bool) (order map[string]any) {
	p.b.t.Helper()
	apptest.Eventually(p.b.t, func() string {
		if _, order = p.call("GET", "/orders/"+id, ""); !ok(order) {
			return fmt.Sprint(order)
		}
		return ""
	})
	return order
}

// confirmations counts the mails about the order in the log.
func confirmations(p *process, order string) int {
	n := 0
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, "mail not sent: no SMTP server is configured") && strings.Contains(line, order) {
			n++
		}
	}
	return n
}
