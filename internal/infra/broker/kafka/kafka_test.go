package kafka

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/brokertest"
	"example.com/millwright/internal/infra/broker/kafka/kafkatest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// go-metrics, which sarama uses, starts one goroutine a process and never ends it.
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// envBrokers names the variable with the addresses of a real Kafka, as
// host:port,host:port.
const envBrokers = "TEST_KAFKA_BROKERS"

const nackHoldsBack = "watermill-kafka takes a partition's next message when the previous one is acked: a nacked one holds back its partition"

func openAt(t *testing.T, brokers []string, config Config) *Broker {
	t.Helper()
	config.CloseTimeout = time.Second
	config.Logger = slog.New(slog.DiscardHandler)
	b, err := New(t.Context(), brokers, config)
	require.NoError(t, err)
	return b
}

func TestConformance(t *testing.T) {
	s := kafkatest.Start(t)
	brokertest.Run(t, brokertest.Harness{
		Open:          func(t *testing.T) broker.Broker { return openAt(t, s.Addrs, Config{}) },
		Outage:        s.Outage,
		Restart:       s.Restart,
		TooLarge:      2 << 20,
		NackHoldsBack: nackHoldsBack,
	})
}

func TestConformanceOfRealKafka(t *testing.T) {
	addresses := os.Getenv(envBrokers)
	if addresses == "" {
		t.Skipf("no Kafka: set %s to host:port,host:port to run this test", envBrokers)
	}
	brokertest.Run(t, brokertest.Harness{
		Open:          func(t *testing.T) broker.Broker { return openAt(t, strings.Split(addresses, ","), Config{}) },
		TooLarge:      2 << 20,
		NackHoldsBack: nackHoldsBack,
	})
}
