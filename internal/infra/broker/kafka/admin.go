package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// admin holds the connection for requests about topics and groups. It connects
// when first used and anew after any error: sarama's own client may hold on to
// a connection that an outage has broken.
type admin struct {
	brokers []string

	mu      sync.Mutex
	closed  bool
	current sarama.ClusterAdmin
}

// do runs f with a connection: once more if one that was used before fails.
func (a *admin) do(ctx context.Context, f func(sarama.ClusterAdmin) error) error {
	return await(ctx, func() error {
		for {
			cluster, reused, err := a.connect()
			if err != nil {
				return err
			}
			if err = f(cluster); err == nil {
				return nil
			}
			a.drop(cluster)
			if !reused || ctx.Err() != nil {
				return err
			}
		}
	})
}

func (a *admin) connect() (cluster sarama.ClusterAdmin, reused bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, false, errors.New("the broker is closed")
	}
	if a.current != nil {
		return a.current, true, nil
	}
	a.current, err = sarama.NewClusterAdmin(a.brokers, adminConfig())
	if err != nil {
		a.current = nil // it may be a nil pointer in an interface
	}
	return a.current, false, err
}

func (a *admin) drop(cluster sarama.ClusterAdmin) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == cluster {
		a.current = nil
		_ = cluster.Close() // it is being given up because it failed
	}
}

func (a *admin) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.current == nil {
		return nil
	}
	cluster := a.current
	a.current = nil
	return cluster.Close()
}

// Ping asks the cluster who it is.
func (b *Broker) Ping(ctx context.Context) error {
	if err := b.admin.ping(ctx); err != nil {
		return fmt.Errorf("kafka: ping: %w", err)
	}
	return nil
}

func (a *admin) ping(ctx context.Context) error {
	return a.do(ctx, func(cluster sarama.ClusterAdmin) error {
		_, _, err := cluster.DescribeCluster()
		return err
	})
}

// topicsTimeout bounds the wait for created topics to have their leaders.
const topicsTimeout = 30 * time.Second

// EnsureTopics creates the topics that don't exist and waits until all of them
// can be used. A topic that exists stays as it is. Where creating is not
// allowed, the error names the topic and the command that creates it.
func (b *Broker) EnsureTopics(ctx context.Context, topics ...string) error {
	if len(topics) == 0 {
		return nil // to Kafka, no topics means all
	}
	ctx, cancel := context.WithTimeoutCause(ctx, topicsTimeout, fmt.Errorf("no answer within %s", topicsTimeout))
	defer cancel()
	err := b.admin.do(ctx, func(cluster sarama.ClusterAdmin) error {
		missing, err := notReady(cluster, topics)
		if err != nil {
			return err
		}
		var problems []error
		for _, topic := range missing {
			problems = append(problems, b.create(cluster, topic))
		}
		if err := errors.Join(problems...); err != nil {
			return err
		}
		return waitReady(ctx, cluster, missing)
	})
	if err != nil {
		return fmt.Errorf("kafka: ensure topics: %w", err)
	}
	return nil
}

func (b *Broker) create(cluster sarama.ClusterAdmin, topic string) error {
	err := cluster.CreateTopic(topic, &sarama.TopicDetail{
		NumPartitions:     b.config.Partitions,
		ReplicationFactor: b.config.Replication,
	}, false)
	switch {
	case err == nil || errors.Is(err, sarama.ErrTopicAlreadyExists):
		return nil
	case errors.Is(err, sarama.ErrTopicAuthorizationFailed) || errors.Is(err, sarama.ErrClusterAuthorizationFailed):
		return fmt.Errorf("topic %s is missing and may not be created from here: run kafka-topics.sh --bootstrap-server %s --create --topic %s --partitions %d: %w",
			topic, strings.Join(b.brokers, ","), topic, b.config.Partitions, err)
	}
	return fmt.Errorf("create topic %s: %w", topic, err)
}

// notReady returns those of the topics that don't exist or have a partition
// without a leader.
func notReady(cluster sarama.ClusterAdmin, topics []string) ([]string, error) {
	described, err := cluster.DescribeTopics(topics)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	var ready []string
	for _, topic := range described {
		leaderless := func(p *sarama.PartitionMetadata) bool { return p.Leader < 0 }
		if topic.Err == sarama.ErrNoError && len(topic.Partitions) > 0 && !slices.ContainsFunc(topic.Partitions, leaderless) {
			ready = append(ready, topic.Name)
		}
	}
	return slices.DeleteFunc(slices.Clone(topics), func(t string) bool { return slices.Contains(ready, t) }), nil
}

func waitReady(ctx context.Context, cluster sarama.ClusterAdmin, topics []string) error {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for len(topics) > 0 {
		var err error
		if topics, err = notReady(cluster, topics); err != nil {
			return err
		}
		if len(topics) == 0 {
			break
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for topics %s: %w", strings.Join(topics, ", "), context.Cause(ctx))
		}
	}
	return nil
}

// Lag counts the offsets between what the group has committed and the end of
// the topic. A commit may come a second after the ack.
func (b *Broker) Lag(ctx context.Context, group, topic string) (int64, error) {
	var lag int64
	err := b.admin.do(ctx, func(cluster sarama.ClusterAdmin) (err error) {
		lag, err = countLag(cluster, group, topic)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("kafka: lag of %s on %s: %w", group, topic, err)
	}
	return lag, nil
}

func countLag(cluster sarama.ClusterAdmin, group, topic string) (int64, error) {
	described, err := cluster.DescribeTopics([]string{topic})
	if err != nil {
		return 0, fmt.Errorf("describe topic: %w", err)
	}
	if len(described) != 1 {
		return 0, sarama.ErrIncompleteResponse
	}
	if described[0].Err != sarama.ErrNoError {
		return 0, described[0].Err
	}
	var partitions []int32
	for _, p := range described[0].Partitions {
		partitions = append(partitions, p.ID)
	}
	committed, err := committedOffsets(cluster, group, topic, partitions)
	if err != nil {
		return 0, fmt.Errorf("committed offsets: %w", err)
	}
	oldest, err := offsets(cluster, topic, partitions, sarama.OffsetOldest)
	if err != nil {
		return 0, fmt.Errorf("oldest offsets: %w", err)
	}
	newest, err := offsets(cluster, topic, partitions, sarama.OffsetNewest)
	if err != nil {
		return 0, fmt.Errorf("newest offsets: %w", err)
	}
	var lag int64
	for _, p := range partitions {
		next := max(committed[p], oldest[p]) // what retention removed isn't to be done any more
		lag += max(newest[p]-next, 0)
	}
	return lag, nil
}

// committedOffsets has nothing for the partitions without a commit.
func committedOffsets(cluster sarama.ClusterAdmin, group, topic string, partitions []int32) (map[int32]int64, error) {
	answer, err := cluster.ListConsumerGroupOffsets(group, map[string][]int32{topic: partitions})
	if errors.Is(err, sarama.ErrGroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	result := make(map[int32]int64, len(partitions))
	for _, p := range partitions {
		block := answer.GetBlock(topic, p)
		if block == nil {
			return nil, sarama.ErrIncompleteResponse
		}
		if block.Err != sarama.ErrNoError {
			return nil, fmt.Errorf("partition %d: %w", p, block.Err)
		}
		if block.Offset >= 0 {
			result[p] = block.Offset
		}
	}
	return result, nil
}

// offsets returns each partition's oldest or newest offset.
func offsets(cluster sarama.ClusterAdmin, topic string, partitions []int32, which int64) (map[int32]int64, error) {
	query := make(map[int32]int64, len(partitions))
	for _, p := range partitions {
		query[p] = which
	}
	answer, err := cluster.ListOffsets(map[string]map[int32]int64{topic: query}, nil)
	if err != nil {
		return nil, err
	}
	result := make(map[int32]int64, len(partitions))
	for p, offset := range answer[topic] {
		if offset.Err != nil && !errors.Is(offset.Err, sarama.ErrNoError) {
			return nil, fmt.Errorf("partition %d: %w", p, offset.Err)
		}
		result[p] = offset.Offset
	}
	return result, nil
}

// maxMessageBytes asks for the topic's max.message.bytes.
func (a *admin) maxMessageBytes(ctx context.Context, topic string) (int, error) {
	const name = "max.message.bytes"
	var limit int
	err := a.do(ctx, func(cluster sarama.ClusterAdmin) error {
		results, err := cluster.DescribeConfigs([]*sarama.ConfigResource{
			{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{name}},
		}, sarama.DescribeConfigsOptions{})
		if err != nil {
			return err
		}
		for _, result := range results {
			for _, entry := range result.Configs {
				if entry.Name == name {
					limit, err = strconv.Atoi(entry.Value)
					return err
				}
			}
		}
		return sarama.ErrIncompleteResponse
	})
	return limit, err
}
