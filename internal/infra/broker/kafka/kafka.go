package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
)

var _ broker.Broker = (*Broker)(nil)

// Config holds what has a default.
type Config struct {
	// Partitions is how many partitions a topic created here gets. It bounds how
	// many of a consumer's messages are handled at a time. Defaults to 16.
	Partitions int32
	// Replication is how many servers hold a topic created here. Defaults to the
	// cluster's default.replication.factor.
	Replication int16
	// MaxMessageBytes is the size, with key and metadata, above which a message
	// is rejected. Messages sent at the same time travel in batches of up to this
	// size, so topics must take as much (max.message.bytes). Defaults to 1 MiB,
	// what Kafka takes by default.
	MaxMessageBytes int
	// CloseTimeout bounds how long a subscriber that closes waits for the
	// messages in flight. Defaults to 10 s.
	CloseTimeout time.Duration
	// Logger gets the client's log: its errors as such, its progress as debug.
	// Defaults to slog.Default().
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	c.Partitions = cmp.Or(c.Partitions, 16)
	c.Replication = cmp.Or(c.Replication, clusterDefault)
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, 1<<20)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.Default())
}

// clusterDefault leaves the replication to the cluster (KIP-464).
const clusterDefault = -1

func (c *Config) validate() error {
	var problems []error
	if c.Partitions < 1 {
		problems = append(problems, fmt.Errorf("the field Partitions is %d: set 1 or more", c.Partitions))
	}
	if c.Replication < 1 && c.Replication != clusterDefault {
		problems = append(problems, fmt.Errorf("the field Replication is %d: set 1 or more", c.Replication))
	}
	if c.MaxMessageBytes < 1 {
		problems = append(problems, fmt.Errorf("the field MaxMessageBytes is %d: set 1 or more", c.MaxMessageBytes))
	}
	if c.CloseTimeout < 0 {
		problems = append(problems, fmt.Errorf("the field CloseTimeout is %s: set a duration above 0", c.CloseTimeout))
	}
	return errors.Join(problems...)
}

// Broker is a Kafka cluster. It is safe for concurrent use.
type Broker struct {
	brokers   []string
	config    Config
	logger    watermill.LoggerAdapter
	admin     *admin
	publisher *publisher
	close     func() error
}

// New connects to the cluster that the brokers (host:port each, any of its
// servers) belong to. It fails if none of them answers. The caller closes the
// Broker.
func New(ctx context.Context, brokers []string, config Config) (*Broker, error) {
	config.setDefaults()
	problems := config.validate()
	if len(brokers) == 0 {
		problems = errors.Join(errors.New("brokers is empty: name one server at least, as host:port"), problems)
	}
	for _, address := range brokers {
		if _, err := parseAddress(address); err != nil {
			problems = errors.Join(problems, fmt.Errorf("brokers: %q is not an address, host:port: %w", address, err))
		}
	}
	if problems != nil {
		return nil, fmt.Errorf("kafka: %w", problems)
	}
	b := &Broker{
		brokers: brokers,
		config:  config,
		logger: watermill.NewSlogLoggerWithLevelMapping(config.Logger.With("broker", "kafka"), map[slog.Level]slog.Level{
			slog.LevelInfo:  slog.LevelDebug,
			slog.LevelDebug: watermill.LevelTrace, // several lines a message
		}),
		admin: &admin{brokers: brokers},
	}
	b.close = sync.OnceValue(func() error { return errors.Join(b.publisher.Close(), b.admin.close()) })

	// A first answer here gives a clear error, before the producer is made.
	if err := b.admin.ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("kafka: connect to %s: %w", b, err), b.admin.close())
	}
	stock, err := wkafka.NewPublisher(wkafka.PublisherConfig{
		Brokers:               brokers,
		Marshaler:             marshaler{maxBytes: config.MaxMessageBytes},
		OverwriteSaramaConfig: producerConfig(config),
	}, b.logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kafka: connect to %s: %w", b, err), b.admin.close())
	}
	b.publisher = &publisher{stock: stock, topicLimit: b.admin.maxMessageBytes}
	return b, nil
}

// Publisher returns the one publisher. While the servers refuse connections,
// its Publish fails within seconds; while they accept them and don't answer,
// within a minute.
func (b *Broker) Publisher() message.Publisher { return b.publisher }

// Subscriber returns a new member of the consumer group.
func (b *Broker) Subscriber(group string) (message.Subscriber, error) {
	if group == "" {
		return nil, errors.New("kafka: subscriber: the group's name is empty")
	}
	return newSubscriber(b, group), nil
}

// Abilities says that Kafka orders, keeps and replays.
func (b *Broker) Abilities() broker.Abilities {
	return broker.Abilities{Ordered: true, Durable: true, Replayable: true}
}

// String names the servers that New was given.
func (b *Broker) String() string { return scheme + strings.Join(b.brokers, ",") }

// Close waits for what is being published and closes the connections. The
// subscribers are closed by their owners. It may be called twice.
func (b *Broker) Close() error { return b.close() }
