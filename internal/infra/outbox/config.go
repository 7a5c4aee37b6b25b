package outbox

import (
	"cmp"
	"log/slog"
	"time"

	"example.com/millwright/internal/infra/envelope"
)

// PublisherConfig tunes the Publisher.
type PublisherConfig struct {
	// AllowUndeclared lets consumers and producers publish event types that they
	// haven't declared, with one warning for each of them and type. Defaults to
	// false: Publish returns an error.
	AllowUndeclared bool
	// Validate checks every event before it is stored; its error is Publish's. Nil
	// checks nothing.
	Validate func(envelope.Envelope) error
	// Logger gets the warnings. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c *PublisherConfig) setDefaults() { c.Logger = cmp.Or(c.Logger, slog.Default()) }

// Config tunes the Forwarder.
type Config struct {
	// Batch is how many rows are moved at a time. Defaults to 500, and to 1000 for a
	// queue in the same database, which needs no memory for them.
	Batch int
	// Workers is how many batches of different partitions are under way at a time
	// to a broker outside the database: one is read or marked while others are
	// published. Defaults to 4.
	Workers int
	// Lanes is how many keys are published side by side to a broker outside the
	// database. Defaults to 256.
	Lanes int
	// Poll is the longest pause between two looks at the table; a commit in this
	// process wakes the Forwarder at once. Defaults to 5s.
	Poll time.Duration
	// Attempts is how often a row may fail while the broker answers before it is
	// set aside. Defaults to 10.
	Attempts int
	// RetryPause is the pause after a row's first failure; it doubles up to a
	// hundred times that. Defaults to 1s.
	RetryPause time.Duration
}

func (c *Config) setDefaults(local bool) {
	if local {
		c.Batch = cmp.Or(c.Batch, 1000)
	}
	c.Batch = cmp.Or(c.Batch, 500)
	c.Workers = cmp.Or(c.Workers, 4)
	c.Lanes = cmp.Or(c.Lanes, 256)
	c.Poll = cmp.Or(c.Poll, 5*time.Second)
	c.Attempts = cmp.Or(c.Attempts, 10)
	c.RetryPause = cmp.Or(c.RetryPause, time.Second)
}
