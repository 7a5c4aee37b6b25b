package kafka

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][]string{
		"kafka://localhost:9092":           {"localhost:9092"},
		"kafka://localhost":                {"localhost:9092"},
		"kafka://a:1,b:2/":                 {"a:1", "b:2"},
		"kafka://a:1, b":                   {"a:1", "b:9092"},
		"kafka://[::1]:9093,10.0.0.1:9094": {"[::1]:9093", "10.0.0.1:9094"},
		"kafka://[::1]":                    {"[::1]:9092"},
	} {
		got, err := ParseURL(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
	}
	for raw, want := range map[string]string{
		"":                          `kafka: "" is not a Kafka URL: write kafka://host:9092,host:9092`,
		"localhost:9092":            `kafka: "localhost:9092" is not a Kafka URL: write kafka://host:9092,host:9092`,
		"nats://a:1":                `kafka: "nats://a:1" is not a Kafka URL: write kafka://host:9092,host:9092`,
		"kafka://":                  `kafka: "" in "kafka://" is not an address (the host is missing): write kafka://host:9092,host:9092`,
		"kafka://a:1,,b:2":          `kafka: "" in "kafka://a:1,,b:2" is not an address (the host is missing): write kafka://host:9092,host:9092`,
		"kafka://a:port":            `kafka: "a:port" in "kafka://a:port" is not an address (port "port" is not a number from 1 to 65535): write kafka://host:9092,host:9092`,
		"kafka://a/topic":           `kafka: "a/topic" in "kafka://a/topic" is not an address ("a/topic" is not a host): write kafka://host:9092,host:9092`,
		"kafka://user:secret@a:123": `kafka: the broker URL holds a user or password, which are not read from there: write kafka://host:9092`,
	} {
		_, err := ParseURL(raw)
		require.EqualError(t, err, want)
	}
}
