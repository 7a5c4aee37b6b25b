package cloudevents_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/IBM/sarama"
	kafkabinding "github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	natsbinding "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	httpbinding "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// goSDK is the CloudEvents SDK for Go.
type goSDK struct{}

func (goSDK) read(t *testing.T, name string, w wire) read {
	t.Helper()
	var m binding.Message
	switch name {
	case "kafka":
		record := &sarama.ConsumerMessage{Key: []byte(w.key), Value: w.body}
		for key, value := range w.headers {
			record.Headers = append(record.Headers, &sarama.RecordHeader{Key: []byte(key), Value: []byte(value)})
		}
		m = kafkabinding.NewMessageFromConsumerMessage(record)
	case "http":
		m = httpbinding.NewMessage(w.http(), io.NopCloser(bytes.NewReader(w.body)))
	case "nats":
		m = natsbinding.NewMessage(&nats.Msg{Header: nats.Header(w.http()), Data: w.body})
	}
	e, err := binding.ToEvent(t.Context(), m)
	require.NoError(t, err)
	require.NoError(t, e.Validate())
	attributes := e.Extensions()
	for name, value := range map[string]string{
		"specversion": e.SpecVersion(), "id": e.ID(), "source": e.Source(), "type": e.Type(),
		"subject": e.Subject(), "datacontenttype": e.DataContentType(), "dataschema": e.DataSchema(),
	} {
		if value != "" {
			attributes[name] = value
		}
	}
	if !e.Time().IsZero() {
		attributes["time"] = e.Time()
	}
	return read{attributes: attributes, data: e.Data()}
}

func (goSDK) write(t *testing.T, name, mode string, f foreign) wire {
	t.Helper()
	e := ce.New()
	for name, value := range f.attributes {
		switch value := value.(type) {
		case string:
			switch name {
			case "specversion":
				e.SetSpecVersion(value)
			case "id":
				e.SetID(value)
			case "source":
				e.SetSource(value)
			case "type":
				e.SetType(value)
			case "subject":
				e.SetSubject(value)
			case "time":
				e.SetTime(instant(t, value))
			case "datacontenttype":
				e.SetDataContentType(value)
			case "dataschema":
				e.SetDataSchema(value)
			default:
				e.SetExtension(name, value)
			}
		default:
			e.SetExtension(name, value)
		}
	}
	e.DataEncoded, e.DataBase64 = f.data, f.base64
	require.NoError(t, e.Validate())

	ctx := binding.WithForceBinary(context.Background())
	if mode == "structured" {
		ctx = binding.WithForceStructured(context.Background())
	}
	w := wire{headers: map[string]string{}}
	switch name {
	case "kafka":
		var record sarama.ProducerMessage
		require.NoError(t, kafkabinding.WriteProducerMessage(ctx, binding.ToMessage(&e), &record))
		for _, header := range record.Headers {
			w.headers[string(header.Key)] = string(header.Value)
		}
		if record.Key != nil {
			key, err := record.Key.Encode()
			require.NoError(t, err)
			w.key = string(key)
		}
		body, err := record.Value.Encode()
		require.NoError(t, err)
		w.body = body
	case "http":
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
		require.NoError(t, err)
		require.NoError(t, httpbinding.WriteRequest(ctx, binding.ToMessage(&e), request))
		w.headers = first(request.Header)
		w.body, err = io.ReadAll(request.Body)
		require.NoError(t, err)
	case "nats":
		var body bytes.Buffer
		header, err := natsbinding.WriteMsg(ctx, binding.ToMessage(&e), &body)
		require.NoError(t, err)
		w.headers, w.body = first(http.Header(header)), body.Bytes()
	}
	return w
}
