package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/inbox"
)

// Config tunes the Router.
type Config struct {
	// Service prefixes the consumer groups: <service>.<consumer>. Required.
	Service string
	// RetryPause is the pause before the first retry of a failed event; it
	// doubles, with jitter, up to MaxRetryPause. Defaults to 100ms.
	RetryPause time.Duration
	// MaxRetryPause bounds the pause between retries. Defaults to 5s.
	MaxRetryPause time.Duration
	// ShutdownTimeout is how long Run waits for the events in flight when it is
	// told to stop. Defaults to 10s.
	ShutdownTimeout time.Duration
	// Validate checks every event that is handled before its payload is decoded; an
	// event that it refuses has failed for good. Nil checks nothing.
	Validate func(envelope.Envelope) error
	// Plugins are installed on Watermill's router before it starts.
	Plugins []message.RouterPlugin
}

func (c *Config) setDefaults() {
	c.RetryPause = cmp.Or(c.RetryPause, 100*time.Millisecond)
	c.MaxRetryPause = cmp.Or(c.MaxRetryPause, 5*time.Second)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, 10*time.Second)
}

// Router runs the consumers: each on its topics and on the dead letters that are
// replayed to it, all behind the same chain of middleware.
type Router struct {
	consumers []Consumer
	catalog   *envelope.Catalog
	broker    broker.Broker
	inbox     *inbox.Inbox
	dead      *deadletter.Store
	config    Config
	logger    *slog.Logger

	watermill *message.Router
	// hard is done when the time for a graceful stop is over: it interrupts the
	// handlers still at work.
	hard context.Context
	kill context.CancelCauseFunc
	crew crew
}

// errStopping interrupts a handler when the time for a graceful stop is over.
var errStopping = errors.New("consumer: the service is stopping")

// NewRouter checks the consumers against the catalog and returns all their
// problems joined.
func NewRouter(consumers []Consumer, catalog *envelope.Catalog, b broker.Broker, in *inbox.Inbox, dead *deadletter.Store, config Config, logger *slog.Logger) (*Router, error) {
	config.setDefaults()
	r := &Router{consumers: consumers, catalog: catalog, broker: b, inbox: in, dead: dead, config: config, logger: logger}
	r.hard, r.kill = context.WithCancelCause(context.Background())
	r.crew = crew{work: make(chan func()), over: r.hard.Done()}
	var err error
	r.watermill, err = message.NewRouter(message.RouterConfig{CloseTimeout: config.ShutdownTimeout}, newLogger(logger))
	if err != nil {
		return nil, fmt.Errorf("consumer: make router: %w", err)
	}
	r.watermill.AddPlugin(config.Plugins...)
	if err := r.check(); err != nil {
		return nil, err
	}
	for _, c := range consumers {
		if err := r.addRoutes(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Router) check() error {
	var problems []error
	names := map[string]bool{}
	if r.config.Service == "" {
		problems = append(problems, errors.New("consumer: Config.Service is empty: it prefixes the consumer groups"))
	}
	for _, c := range r.consumers {
		problems = append(problems, c.problems...)
		if names[c.name] {
			problems = append(problems, fmt.Errorf("consumer %q: there are two of that name", c.name))
		}
		names[c.name] = true
		_, unhandled := c.Handles(r.catalog)
		_, unpublished := c.Publishes(r.catalog)
		problems = append(problems, unhandled, unpublished)
	}
	return errors.Join(problems...)
}

// topics lists the topics of the events that the consumer handles.
func (r *Router) topics(c Consumer) []string {
	entries, _ := c.Handles(r.catalog) // checked by NewRouter
	var topics []string
	for _, entry := range entries {
		topics = append(topics, entry.Topic)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// Group is the consumer's group at the broker.
func (r *Router) Group(c Consumer) string { return r.config.Service + "." + c.name }

// addRoutes gives the consumer a route for each of its topics, and one for what
// is replayed to it.
func (r *Router) addRoutes(c Consumer) error {
	topics := r.topics(c)
	for _, topic := range topics {
		subscriber, err := r.broker.Subscriber(r.Group(c))
		if err != nil {
			return fmt.Errorf("consumer %q: %w", c.name, err)
		}
		name := c.name
		if len(topics) > 1 {
			name += ":" + topic
		}
		if err := r.addRoute(name, c, topic, subscriber); err != nil {
			return err
		}
	}
	return r.addRoute(c.name+":replay", c, c.name, r.dead.Subscriber())
}

func (r *Router) addRoute(name string, c Consumer, topic string, subscriber message.Subscriber) error {
	chain, err := r.chain(c, topic)
	if err != nil {
		return err
	}
	r.watermill.AddConsumerHandler(name, topic, subscriber, func(m *message.Message) error {
		return r.handle(m.Context(), c)
	}).AddMiddleware(chain...)
	return nil
}

// Consumers lists the names.
func (r *Router) Consumers() []string {
	names := make([]string, len(r.consumers))
	for i, c := range r.consumers {
		names[i] = c.name
	}
	return names
}

// Topic is what a consumer reads.
type Topic struct{ Consumer, Group, Topic string }

// Topics lists what the consumers read.
func (r *Router) Topics() []Topic {
	var all []Topic
	for _, c := range r.consumers {
		for _, topic := range r.topics(c) {
			all = append(all, Topic{Consumer: c.name, Group: r.Group(c), Topic: topic})
		}
	}
	return all
}

// Running is closed when all consumers have subscribed.
func (r *Router) Running() <-chan struct{} { return r.watermill.Running() }

// Run handles events until ctx is done. It then takes no more, waits for those in
// flight up to ShutdownTimeout, interrupts what is left for the broker to
// deliver again, and returns nil. It returns an error if a consumer can't
// subscribe.
func (r *Router) Run(ctx context.Context) error {
	defer r.kill(errStopping)
	stopped := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(stopped)
		select {
		case <-r.watermill.Running():
		case <-r.hard.Done(): // Run failed
		}
		if err := r.watermill.Close(); err != nil {
			r.logger.Warn("events still in flight when the time to stop was over, they will be delivered again",
				"timeout", r.config.ShutdownTimeout, "error", err)
		}
	})
	err := r.watermill.Run(context.WithoutCancel(ctx))
	if !release() {
		r.kill(errStopping)
		<-stopped
	}
	if err == nil && ctx.Err() == nil {
		err = errors.New("all subscriptions ended by themselves")
	}
	if err != nil {
		return fmt.Errorf("consumer: run: %w", err)
	}
	return nil
}

// RetryHorizon is the longest time that the retries of one delivery can take:
// for so long at least must the record of processed events be kept.
func RetryHorizon(consumers []Consumer, config Config) time.Duration {
	config.setDefaults()
	var horizon time.Duration
	for _, c := range consumers {
		total := c.timeout
		pause := config.RetryPause
		for range c.retries {
			total += min(pause, config.MaxRetryPause)*3/2 + c.timeout // jitter adds up to half
			pause = min(pause*2, config.MaxRetryPause)
		}
		horizon = max(horizon, total)
	}
	return horizon
}

// String lists the consumers for logs.
func (r *Router) String() string { return strings.Join(r.Consumers(), ", ") }
