package cloudevents_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker/kafka"
	"example.com/millwright/internal/infra/broker/kafka/kafkatest"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/inbox"
	"example.com/millwright/internal/infra/outbox"
)

// sdk reads and writes events as its language's CloudEvents SDK does.
type sdk interface {
	read(t *testing.T, binding string, w wire) read
	write(t *testing.T, binding, mode string, f foreign) wire
}

// wire is an event as a protocol carries it.
type wire struct {
	headers map[string]string
	key     string // of a Kafka record
	body    []byte
}

func (w wire) http() http.Header {
	header := http.Header{}
	for name, value := range w.headers {
		header[http.CanonicalHeaderKey(name)] = []string{value}
	}
	return header
}

// message is what a subscriber makes of it.
func (w wire) message() *message.Message {
	m := message.NewMessage("m1", w.body)
	m.Metadata = w.headers
	return m
}

func first(header http.Header) map[string]string {
	headers := map[string]string{}
	for name := range header {
		headers[name] = header.Get(name)
		if values := header[name]; len(values) > 0 { // a name that isn't in canonical form
			headers[name] = values[0]
		}
	}
	return headers
}

// read is an event that an SDK has read: attributes are string, int32, bool or
// time.Time.
type read struct {
	attributes map[string]any
	data       []byte
	precision  time.Duration // of its times
}

// foreign is an event of another language's service.
type foreign struct {
	attributes map[string]any // string, int or bool
	data       []byte
	base64     bool // data_base64 in structured mode
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return at
}

// server is a Kafka and what the service needs for it.
type server struct {
	kafka   *kafkatest.Server
	broker  *kafka.Broker
	db      *database.DB
	catalog *envelope.Catalog
	logger  *slog.Logger
}

func start(t *testing.T) *server {
	t.Helper()
	s := &server{kafka: kafkatest.Start(t), db: databasetest.Open(t, databasetest.SQLiteURL(t)), logger: slog.New(slog.DiscardHandler)}
	var err error
	s.broker, err = kafka.New(t.Context(), s.kafka.Addrs, kafka.Config{CloseTimeout: time.Second, Partitions: 2, Logger: s.logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.broker.Close()) })
	s.catalog, err = envelope.NewCatalog(orders)
	require.NoError(t, err)
	require.NoError(t, s.broker.EnsureTopics(t.Context(), orders.Topic))
	return s
}

// records reads n records of the topic.
func (s *server) records(t *testing.T, n int) []wire {
	t.Helper()
	client, err := sarama.NewConsumer(s.kafka.Addrs, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	partitions, err := client.Partitions(orders.Topic)
	require.NoError(t, err)
	found := make(chan *sarama.ConsumerMessage)
	for _, p := range partitions {
		records, err := client.ConsumePartition(orders.Topic, p, sarama.OffsetOldest)
		require.NoError(t, err)
		defer records.AsyncClose()
		go func() {
			for record := range records.Messages() {
				select {
				case found <- record:
				case <-t.Context().Done():
				}
			}
		}()
	}
	var all []wire
	for len(all) < n {
		select {
		case record := <-found:
			w := wire{headers: map[string]string{}, key: string(record.Key), body: record.Value}
			for _, header := range record.Headers {
				w.headers[string(header.Key)] = string(header.Value)
			}
			all = append(all, w)
		case <-time.After(30 * time.Second):
			require.FailNow(t, "too few records", "%d of %d", len(all), n)
		}
	}
	return all
}

// send writes a record as it is.
func (s *server) send(t *testing.T, w wire) {
	t.Helper()
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer(s.kafka.Addrs, config)
	require.NoError(t, err)
	defer func() { require.NoError(t, producer.Close()) }()
	record := &sarama.ProducerMessage{Topic: orders.Topic, Value: sarama.ByteEncoder(w.body)}
	if w.key != "" {
		record.Key = sarama.StringEncoder(w.key)
	}
	for name, value := range w.headers {
		record.Headers = append(record.Headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	_, _, err = producer.SendMessage(record)
	require.NoError(t, err)
}

// overHTTP sends it and returns it as a server gets it.
func overHTTP(t *testing.T, w wire) (got wire) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got.headers = first(r.Header)
		got.body, _ = io.ReadAll(r.Body)
	}))
	defer s.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, bytes.NewReader(w.body))
	require.NoError(t, err)
	request.Header = w.http()
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return got
}

// What this service publishes, read by others.
func TestOursReadByGo(t *testing.T) {
	t.Parallel()
	ours(t, goSDK{}, "kafka", "http", "nats")
}

func TestOursReadByPython(t *testing.T) {
	t.Parallel()
	ours(t, startPython(t), "kafka", "http")
}

func ours(t *testing.T, by sdk, bindings ...string) {
	s := start(t)
	// Two from the outbox, the second an effect of another event.
	publisher := outbox.NewPublisher(s.db, s.catalog, "/shop", outbox.PublisherConfig{})
	cause := envelope.Header{ID: "cause", CorrelationID: "first", Depth: 2, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	for _, ctx := range []context.Context{t.Context(), envelope.NewContext(t.Context(), cause)} {
		require.NoError(t, s.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
			return publisher.Publish(ctx, tx, placed)
		}))
	}
	_, err := outbox.NewForwarder(s.db, s.broker, outbox.Config{}, s.logger).Forward(t.Context())
	require.NoError(t, err)
	published := s.records(t, 2)
	var depths []int
	want := map[string]envelope.Envelope{}
	for _, w := range published {
		e, err := envelope.FromMessage(w.message())
		require.NoError(t, err)
		require.Equal(t, "/shop", e.Source)
		require.Equal(t, placed.OrderID, w.key)
		depths = append(depths, e.Depth)
		want[e.ID] = e
	}
	require.ElementsMatch(t, []int{0, 3}, depths)

	// And some with all that an envelope can have, or little.
	data, err := json.Marshal(placed)
	require.NoError(t, err)
	for _, e := range []envelope.Envelope{
		{
			Header: envelope.Header{
				ID: "all ✓", Source: "//shop.example/orders?x=1", Type: orders.Name, Subject: `Größe "50%" €, 100%25 😀`,
				Time: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC), DataContentType: "application/json; charset=utf-8",
				DataSchema: "https://shop.example/schemas/orders.placed/v2.json", SchemaVersion: 2, PartitionKey: "ключ", CorrelationID: "c", CausationID: "d",
				Depth: 16, TraceParent: cause.TraceParent, Extensions: map[string]json.RawMessage{
					"comexampletenant": json.RawMessage(`"blü\u20ac <b>"`), "comexamplecount": json.RawMessage("-2147483648"), "comexampleflag": json.RawMessage("true"),
				},
			},
			Data: data,
		},
		{Header: envelope.Header{ID: "few", Source: "shop", Type: orders.Name, SchemaVersion: 1, PartitionKey: "k", Time: time.Unix(0, 0).UTC()}, Data: json.RawMessage(`{"n": [1, 2.5, null, "<&>"]}`)},
	} {
		m, err := e.Message()
		require.NoError(t, err)
		require.NoError(t, s.broker.Publisher().Publish(orders.Topic, m))
		want[e.ID] = e
	}
	for _, w := range s.records(t, len(want)) {
		m, err := envelope.FromMessage(w.message())
		require.NoError(t, err)
		e := want[m.ID]
		delete(want, m.ID)
		for _, binding := range bindings {
			sent := w
			if binding == "http" {
				// The body and its type: what a service hands on as a webhook.
				sent = overHTTP(t, wire{headers: map[string]string{"content-type": w.headers["content-type"]}, body: w.body})
			}
			got := by.read(t, binding, sent)
			require.Equal(t, attributes(t, e.Header, got.precision), got.attributes, binding)
			require.JSONEq(t, string(e.Data), string(got.data), binding)
		}
	}
	require.Empty(t, want)
}

// attributes are those of the header, with their types in CloudEvents.
func attributes(t *testing.T, h envelope.Header, precision time.Duration) map[string]any {
	t.Helper()
	all := map[string]any{"specversion": "1.0", "schemaversion": int32(h.SchemaVersion), "depth": int32(h.Depth), "time": h.Time.Truncate(precision)}
	for name, value := range map[string]string{
		"id": h.ID, "source": h.Source, "type": h.Type, "subject": h.Subject, "datacontenttype": h.DataContentType, "dataschema": h.DataSchema,
		"partitionkey": h.PartitionKey, "correlationid": h.CorrelationID, "causationid": h.CausationID, "traceparent": h.TraceParent,
	} {
		if value != "" {
			all[name] = value
		}
	}
	for name, raw := range h.Extensions {
		var value any
		require.NoError(t, json.Unmarshal(raw, &value))
		if number, ok := value.(float64); ok {
			value = int32(number)
		}
		all[name] = value
	}
	return all
}

// What others publish, handled by this service.
func TestTheirsFromGo(t *testing.T) {
	t.Parallel()
	theirs(t, goSDK{}, "true", 0, "kafka", "http", "nats")
}

func TestTheirsFromPython(t *testing.T) {
	t.Parallel()
	theirs(t, startPython(t), "True", time.Microsecond, "kafka", "http")
}

// foreigners returns the events to be sent, by their names. Each has the
// attributes that this project requires: schemaversion beside the
// specification's own.
func foreigners(t *testing.T) map[string]foreign {
	t.Helper()
	data, err := json.Marshal(placed)
	require.NoError(t, err)
	attributes := func(more map[string]any) map[string]any {
		all := map[string]any{"specversion": "1.0", "source": "/elsewhere", "type": orders.Name, "schemaversion": 2}
		maps.Copy(all, more)
		return all
	}
	return map[string]foreign{
		"required": {attributes: attributes(nil), data: data},
		"all": {data: data, attributes: attributes(map[string]any{
			"subject": "order", "time": "2026-03-01T13:00:00.123456789+05:45", "datacontenttype": "application/json",
			"dataschema": "https://elsewhere.example/v2.json", "partitionkey": "key 1", "correlationid": "c", "causationid": "d", "depth": 16,
			"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		})},
		"extensions": {data: data, attributes: attributes(map[string]any{
			"datacontenttype": "text/json", "comexampletenant": "blü €", "comexamplecount": -2147483648, "comexampleflag": true,
		})},
		"unicode":    {data: data, attributes: attributes(map[string]any{"subject": `Größe 50% "€" 😀`, "partitionkey": "ключ"})},
		"percent":    {data: data, attributes: attributes(map[string]any{"subject": "100%25 of it"})},
		"media type": {data: data, attributes: attributes(map[string]any{"datacontenttype": "application/vnd.elsewhere+json"})},
		"base64":     {data: data, base64: true, attributes: attributes(map[string]any{"datacontenttype": "application/json; charset=utf-8"})},
	}
}

func theirs(t *testing.T, by sdk, yes string, precision time.Duration, bindings ...string) {
	s := start(t)
	var mu sync.Mutex
	handled := map[string]envelope.Event[order]{}
	handle := func(_ context.Context, e envelope.Event[order]) error {
		mu.Lock()
		defer mu.Unlock()
		handled[e.ID] = e
		return nil
	}
	dead := deadletter.NewStore(s.db, deadletter.Config{CloseTimeout: time.Second}, s.logger)
	router, err := consumer.NewRouter([]consumer.Consumer{consumer.New("conformance", consumer.OnEffect(handle))}, s.catalog, s.broker,
		inbox.New(s.db, s.logger), dead, consumer.Config{Service: "tests"}, s.logger)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- router.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})

	want := map[string]envelope.Header{}
	for name, f := range foreigners(t) {
		for _, binding := range bindings {
			for _, mode := range []string{"structured", "binary"} {
				if _, isGo := by.(goSDK); isGo && wrongInGo(name, binding, mode) {
					continue
				}
				id := strings.Join([]string{binding, mode, name}, "/")
				f.attributes["id"] = id
				want[id] = header(t, f, mode, yes, precision)
				w := by.write(t, binding, mode, foreign{attributes: maps.Clone(f.attributes), data: f.data, base64: f.base64})
				switch binding {
				case "kafka":
					s.send(t, w)
					continue
				case "http":
					w = overHTTP(t, w)
				}
				e, err := envelope.FromMessage(w.message())
				require.NoError(t, err, id)
				payload, err := s.catalog.Decode(e)
				require.NoError(t, err, id)
				mu.Lock()
				handled[id] = envelope.Event[order]{Header: e.Header, Data: payload.(order)}
				mu.Unlock()
			}
		}
	}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(handled) == len(want)
	}, 60*time.Second, 10*time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	for id, want := range want {
		got := handled[id]
		if want.Time.IsZero() && precision > 0 {
			require.NotZero(t, got.Time, "Python sets a time if there is none")
			got.Time = want.Time
		}
		for name, value := range got.Extensions { // Python escapes what isn't ASCII
			require.JSONEq(t, string(want.Extensions[name]), string(value), id)
			got.Extensions[name] = want.Extensions[name]
		}
		require.Equal(t, want, got.Header, id)
		require.Equal(t, placed, got.Data, id)
	}
}

// wrongInGo are the events that the SDK for Go doesn't write as the
// specification says: it doesn't percent-encode headers, and makes a string of
// data whose media type ends in +json.
func wrongInGo(name, binding, mode string) bool {
	return name == "percent" && binding != "kafka" && mode == "binary" || name == "media type" && mode == "structured"
}

// header is what the event must arrive with. In binary mode all values are
// strings, and yes is how true is written.
func header(t *testing.T, f foreign, mode, yes string, precision time.Duration) envelope.Header {
	t.Helper()
	text := func(name string) string { s, _ := f.attributes[name].(string); return s }
	number := func(name string) int { n, _ := f.attributes[name].(int); return n }
	h := envelope.Header{
		ID: text("id"), Source: text("source"), Type: text("type"), Subject: text("subject"), DataContentType: text("datacontenttype"),
		DataSchema: text("dataschema"), SchemaVersion: number("schemaversion"), PartitionKey: text("partitionkey"),
		CorrelationID: text("correlationid"), CausationID: text("causationid"), Depth: number("depth"), TraceParent: text("traceparent"),
	}
	if at := text("time"); at != "" {
		h.Time = instant(t, at).UTC().Truncate(precision)
	}
	for name, value := range f.attributes {
		if !strings.HasPrefix(name, "comexample") {
			continue
		}
		if h.Extensions == nil {
			h.Extensions = map[string]json.RawMessage{}
		}
		if mode == "binary" {
			if value == true {
				value = yes
			}
			value = fmt.Sprint(value)
		}
		encoded, err := json.Marshal(value)
		require.NoError(t, err)
		h.Extensions[name] = encoded
	}
	return h
}
