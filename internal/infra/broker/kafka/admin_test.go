package kafka

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/millwright/internal/infra/broker/kafka/kafkatest"
)

// open opens a broker that is closed when the test ends.
func open(t *testing.T, s *kafkatest.Server, config Config) *Broker {
	t.Helper()
	b := openAt(t, s.Addrs, config)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func TestNewReportsAllProblems(t *testing.T) {
	t.Parallel()
	_, err := New(t.Context(), []string{"no port:x"}, Config{Partitions: -1, Replication: -2, MaxMessageBytes: -1, CloseTimeout: -1})
	require.EqualError(t, err, `kafka: the field Partitions is -1: set 1 or more
the field Replication is -2: set 1 or more
the field MaxMessageBytes is -1: set 1 or more
the field CloseTimeout is -1ns: set a duration above 0
brokers: "no port:x" is not an address, host:port: "no port" is not a host`)

	_, err = New(t.Context(), nil, Config{})
	require.EqualError(t, err, "kafka: brokers is empty: name one server at least, as host:port")
}

func TestNewWithoutServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())

	start := time.Now()
	_, err = New(t.Context(), []string{address}, Config{})
	require.ErrorContains(t, err, "kafka: connect to kafka://"+address+": ")
	require.Less(t, time.Since(start), 10*time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = New(ctx, []string{address}, Config{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestNames(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	b := open(t, s, Config{})
	require.Equal(t, "kafka://"+s.Addrs[0]+","+s.Addrs[1]+","+s.Addrs[2], b.String())
	_, err := b.Subscriber("")
	require.EqualError(t, err, "kafka: subscriber: the group's name is empty")
}

func TestEnsureTopicsCreates(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	b := open(t, s, Config{Partitions: 5, Replication: 2})
	require.NoError(t, s.Cluster.CreateTopic("existing", 2, nil))
	require.NoError(t, b.EnsureTopics(t.Context(), "new", "existing"))
	require.Len(t, s.Cluster.PartitionInfos("new"), 5)
	require.Len(t, s.Cluster.PartitionInfos("existing"), 2)

	tooMany := open(t, s, Config{Replication: 9})
	require.ErrorContains(t, tooMany.EnsureTopics(t.Context(), "copied"), "kafka: ensure topics: create topic copied: ")
}

func TestEnsureTopicsWhereCreatingIsForbidden(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	b := open(t, s, Config{Partitions: 5})
	require.NoError(t, b.EnsureTopics(t.Context(), "existing"))
	s.Cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	require.NoError(t, b.EnsureTopics(t.Context(), "existing"))
	err := b.EnsureTopics(t.Context(), "existing", "orders")
	require.ErrorContains(t, err, "kafka: ensure topics: topic orders is missing and may not be created from here: "+
		"run kafka-topics.sh --bootstrap-server "+s.Addrs[0])
	require.ErrorContains(t, err, "--create --topic orders --partitions 5")
}

// TestEnsureTopicsAfterAnother: another process creates the topic in between.
func TestEnsureTopicsAfterAnother(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	b := open(t, s, Config{})
	s.Cluster.ControlKey(int16(kmsg.CreateTopics), func(kmsg.Request) (kmsg.Response, error, bool) {
		go func() { _ = s.Cluster.CreateTopic("orders", 3, nil) }() // the cluster takes it when this request is answered
		response := kmsg.NewPtrCreateTopicsResponse()
		response.Version = 5
		topic := kmsg.NewCreateTopicsResponseTopic()
		topic.Topic, topic.ErrorCode = "orders", kerr.TopicAlreadyExists.Code
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
	require.NoError(t, b.EnsureTopics(t.Context(), "orders"))
	require.Len(t, s.Cluster.PartitionInfos("orders"), 3)
}

func TestLagOfUnknownTopic(t *testing.T) {
	t.Parallel()
	b := open(t, kafkatest.Start(t), Config{})
	_, err := b.Lag(t.Context(), "group", "unknown")
	require.ErrorContains(t, err, "kafka: lag of group on unknown: ")
}

// TestLagAfterRetention: what was removed before the group came isn't counted.
func TestLagAfterRetention(t *testing.T) {
	t.Parallel()
	s := kafkatest.Start(t)
	b := open(t, s, Config{Partitions: 1})
	require.NoError(t, b.EnsureTopics(t.Context(), "orders"))
	for range 5 {
		require.NoError(t, b.Publisher().Publish("orders", keyed("id", "key", nil)))
	}
	require.NoError(t, s.Cluster.DeleteRecords("orders", 0, 3))
	lag, err := b.Lag(t.Context(), "group", "orders")
	require.NoError(t, err)
	require.EqualValues(t, 2, lag)
}
