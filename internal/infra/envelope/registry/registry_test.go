package registry_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope/registry"
	"example.com/millwright/internal/infra/envelope/registry/registrytest"
)

func connect(t *testing.T, config registry.Config) *registry.Registry {
	t.Helper()
	client, err := registry.New(config)
	require.NoError(t, err)
	return client
}

func parcel(eventType string) registry.Schema {
	return registry.Schema{EventType: eventType, Version: 1, Topic: "post", Text: []byte(`{"type": "object"}`), Compatibility: "BACKWARD"}
}

// TestBadSchemas are refused before a registry is asked; the others go on.
func TestBadSchemas(t *testing.T) {
	t.Parallel()
	client := connect(t, registry.Config{URL: registrytest.Start(t).URL, Subjects: registry.ByTopic})
	published, err := client.Publish(t.Context(),
		registry.Schema{Text: []byte(`{"type`), Compatibility: "backward"},
		parcel("sent"),
		registry.Schema{EventType: "lost", Version: 1, Topic: "post", Text: []byte(`{}`), Compatibility: "NONE"},
	)
	require.EqualError(t, err, `registry: publish (unnamed) v0: the event type is missing
the version is 0: give 1 or more
the topic is missing, which the strategy "topic" names subjects by
the compatibility is "backward": use one of NONE, BACKWARD, BACKWARD_TRANSITIVE, FORWARD, FORWARD_TRANSITIVE, FULL, FULL_TRANSITIVE
the schema is not JSON: unexpected end of JSON input
registry: publish post-value: the subject has one compatibility, but sent v1 wants "BACKWARD" and lost v1 "NONE": give both the same`)
	require.Len(t, published, 1)
	require.Equal(t, "sent", published[0].EventType)
}

// TestAnswers are what a server may say that is no schema.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const json = "application/vnd.schemaregistry.v1+json"
	for name, c := range map[string]struct {
		status     int
		body, want string
		is         error
		requests   int32 // for two schemas, tried twice while unavailable
	}{
		"unauthorized": {401, `{"error_code":401,"message":"Unauthorized"}`, "wrong or missing user and password for <here>: give them in the URL", registry.ErrUnauthorized, 1},
		"forbidden":    {403, `{"error_code":40301,"message":"User is denied"}`, "not permitted for this user by <here>: User is denied", registry.ErrForbidden, 2},
		"read-only":    {422, `{"error_code":42205,"message":"Subject is in read-only mode"}`, "not permitted by <here>: Subject is in read-only mode", registry.ErrForbidden, 2},
		"another path": {404, "<html>\nnothing here", "<here> doesn't answer as a schema registry does: check the URL and its path: <html>", nil, 2},
		"another page": {200, "<html>\nwelcome", "<here> doesn't answer as a schema registry does: check the URL and its path: ", nil, 2},
		"busy":         {429, "", "the registry is unavailable: <here> answered 429: no response", registry.ErrUnavailable, 2},
		"no backend":   {503, "<html>", "the registry is unavailable: <here> answered 503: <html>", registry.ErrUnavailable, 2},
		"no store":     {500, `{"error_code":50001,"message":"Error in the backend data store"}`, "the registry is unavailable: <here> answered 50001: Error in the backend", registry.ErrUnavailable, 2},
		"a bug":        {500, `{"error_code":0,"message":"could not determine version"}`, "<here> answered 500: could not determine version", nil, 2},
		"a long page":  {500, strings.Repeat("é", 4000), "<here> answered 500: éé", nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				w.Header().Set("Content-Type", json)
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			client := connect(t, registry.Config{URL: strings.Replace(server.URL, "://", "://ada:s3cret@", 1), Attempts: 2})
			published, err := client.Publish(t.Context(), parcel("sent"), parcel("lost"))
			require.ErrorContains(t, err, "registry: publish sent.v1: ")
			require.ErrorContains(t, err, strings.ReplaceAll(c.want, "<here>", client.String()))
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			stopped := c.is == registry.ErrUnavailable || c.is == registry.ErrUnauthorized
			require.Equal(t, stopped, strings.Contains(err.Error(), "registry: publish: 1 more not tried"))
			require.Equal(t, c.requests, requests.Load())
			require.Empty(t, published)
			require.NotContains(t, err.Error(), "s3cret")
			require.Less(t, len(err.Error()), 3000)
		})
	}
}

// TestRetry fails every other request.
func TestRetry(t *testing.T) {
	t.Parallel()
	behind, err := url.Parse(registrytest.Start(t).URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(behind)
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	published, err := connect(t, registry.Config{URL: server.URL}).Publish(t.Context(), parcel("sent"))
	require.NoError(t, err)
	require.Equal(t, 1, published[0].Version)

	_, err = connect(t, registry.Config{URL: server.URL, Attempts: 1}).Publish(t.Context(), parcel("lost"))
	require.ErrorIs(t, err, registry.ErrUnavailable)
}

// TestOutOfReach tells an outage from a schema that is missing.
func TestOutOfReach(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() // it accepts connections and says nothing
	for name, config := range map[string]registry.Config{
		"nobody listens": {URL: "http://ada:s3cret@127.0.0.1:1", Attempts: 1},
		"no answer":      {URL: "http://ada:s3cret@" + listener.Addr().String(), Attempts: 1, Timeout: 20 * time.Millisecond},
		"not TLS":        {URL: "https://ada:s3cret@" + strings.TrimPrefix(registrytest.Start(t).URL, "http://"), Attempts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			client := connect(t, config)
			err := client.Registered(t.Context(), parcel("sent"), parcel("lost"))
			require.ErrorIs(t, err, registry.ErrUnavailable)
			require.NotErrorIs(t, err, registry.ErrNotRegistered)
			require.ErrorContains(t, err, "registry: look up sent.v1: the registry is unavailable: "+client.String())
			require.ErrorContains(t, err, "1 more not tried")
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
}

// TestContext ends what is under way.
func TestContext(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	client := connect(t, registry.Config{URL: "http://" + listener.Addr().String(), Timeout: time.Hour})

	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, client.Registered(deadline, parcel("sent")), registry.ErrUnavailable)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	err = client.Registered(cancelled, parcel("sent"))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, registry.ErrUnavailable)
}

func TestUsers(t *testing.T) {
	t.Parallel()
	server := (&registrytest.Server{User: "ada", Password: "s3cret"}).Start(t)
	schema := parcel("sent")
	_, err := connect(t, registry.Config{URL: server.URL}).Publish(t.Context(), schema)
	require.NoError(t, err)

	for _, url := range []string{strings.Replace(server.URL, "s3cret", "s3cret2", 1), strings.Replace(server.URL, "ada:s3cret@", "", 1)} {
		client := connect(t, registry.Config{URL: url, Attempts: 1})
		err := client.Registered(t.Context(), schema)
		require.ErrorIs(t, err, registry.ErrUnauthorized)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

// TestReader may look and compare, but not publish.
func TestReader(t *testing.T) {
	t.Parallel()
	server := (&registrytest.Server{User: "ada", Password: "s3cret", ReadOnly: true}).Start(t)
	client := connect(t, registry.Config{URL: server.URL})
	verdicts, err := client.Check(t.Context(), parcel("sent"))
	require.NoError(t, err)
	require.Equal(t, registry.StateNew, verdicts[0].State)
	_, err = client.Publish(t.Context(), parcel("sent"), parcel("lost"))
	require.ErrorIs(t, err, registry.ErrForbidden)
	require.ErrorContains(t, err, "sent.v1: set its compatibility to BACKWARD: not permitted")
	require.ErrorContains(t, err, "lost.v1: ", "rights may differ by subject")
}

// TestCheckStart fails or warns, as it is configured.
func TestCheckStart(t *testing.T) {
	t.Parallel()
	server := registrytest.Start(t)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	optional := connect(t, registry.Config{URL: server.URL})
	require.NoError(t, optional.CheckStart(t.Context(), logger, parcel("sent")))
	require.Contains(t, log.String(), "the schema registry doesn't confirm the schemas of this build")
	require.Contains(t, log.String(), "sent.v1: run `service events publish`")

	required := connect(t, registry.Config{URL: server.URL, Required: true})
	require.ErrorIs(t, required.CheckStart(t.Context(), logger, parcel("sent")), registry.ErrNotRegistered)

	_, err := required.Publish(t.Context(), parcel("sent"))
	require.NoError(t, err)
	log.Reset()
	require.NoError(t, required.CheckStart(t.Context(), logger, parcel("sent")))
	require.NoError(t, optional.CheckStart(t.Context(), logger, parcel("sent")))
	require.Empty(t, log.String())
}
