package kafka

import (
	"context"
	"time"

	"github.com/IBM/sarama"
)

// A server that is down must be noticed within seconds, while a consumer's
// request may rightly take as long as a rebalance does.
const (
	dialTimeout      = 3 * time.Second
	answerTimeout    = 5 * time.Second
	rebalanceTimeout = 30 * time.Second
)

// clientConfig is what all clients share.
func clientConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "watermill"
	c.Version = sarama.V2_8_0_0 // the oldest server that is supported; newer ones speak it
	c.Net.DialTimeout = dialTimeout
	c.Net.ReadTimeout = answerTimeout
	c.Net.WriteTimeout = answerTimeout
	c.Metadata.Retry.Max = 2
	c.Metadata.Retry.Backoff = 250 * time.Millisecond
	c.Metadata.Timeout = dialTimeout // no new try after it
	// Topics come from EnsureTopics alone: one created by the way, for a name
	// mistyped, would have the wrong number of partitions.
	c.Metadata.AllowAutoTopicCreation = false
	return c
}

// adminConfig is for requests about topics and groups.
func adminConfig() *sarama.Config {
	c := clientConfig()
	c.Metadata.RefreshFrequency = 0 // asked when needed
	c.Admin.Retry.Max = 2
	return c
}

// producerConfig is for an idempotent producer that waits for all replicas.
func producerConfig(config Config) *sarama.Config {
	c := clientConfig()
	c.Metadata.Full = false // the topics in use, not all of the cluster's
	c.Net.MaxOpenRequests = 1
	c.Producer.Idempotent = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Partitioner = sarama.NewHashPartitioner
	c.Producer.MaxMessageBytes = config.MaxMessageBytes
	c.Producer.Timeout = answerTimeout - time.Second // for the replicas: the server's error should arrive
	c.Producer.Retry.Max = 1                         // the caller tries again, and mustn't wait long until it may
	c.Producer.Retry.Backoff = 250 * time.Millisecond
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	return c
}

// consumerConfig is for a member of a consumer group.
func consumerConfig() *sarama.Config {
	c := clientConfig()
	c.Metadata.Full = false
	c.Net.ReadTimeout = rebalanceTimeout + 5*time.Second // joining a group is answered when all members have joined
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Interval = time.Second
	c.Consumer.Group.Rebalance.Timeout = rebalanceTimeout // what a handler in flight has to finish in
	c.Consumer.Group.Session.Timeout = 10 * time.Second   // after which a killed member's partitions move on
	c.Consumer.Group.Heartbeat.Interval = time.Second     // also how soon a member learns of a rebalance
	c.Consumer.Retry.Backoff = 500 * time.Millisecond
	c.Consumer.MaxWaitTime = 250 * time.Millisecond
	c.Consumer.Return.Errors = true
	return c
}

// await runs f, which can't be cancelled, and gives up waiting when ctx ends; f
// then ends by its own timeouts.
func await(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
