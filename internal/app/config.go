package app

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/millwright/internal/handlers"
	"example.com/millwright/internal/infra/broker/kafka"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope/registry"
	"example.com/millwright/internal/infra/telemetry"
)

// Config holds all settings. Each comes from its flag, else from its environment
// variable, else from its default.
type Config struct {
	ServiceName string `env:"SERVICE_NAME" default:"millwright" help:"Name of this service: the source of its events and the prefix of its consumer groups."`

	DatabaseURL      string `env:"DATABASE_URL" default:"sqlite:data/millwright.db" secret:"url" help:"Where the data is: postgres://user:password@host/name or sqlite:path/to/file.db."`
	DatabaseMaxConns int    `env:"DATABASE_MAX_CONNS" default:"20" help:"Connections to PostgreSQL at most."`

	Broker           string `env:"BROKER" default:"sqlqueue" help:"What carries the events: sqlqueue or kafka."`
	BrokerURL        string `env:"BROKER_URL" secret:"url" help:"Where the broker is: kafka://host:9092,host:9092, or for sqlqueue another database than DATABASE_URL."`
	KafkaPartitions  int    `env:"KAFKA_PARTITIONS" default:"16" help:"Partitions of the topics that the service creates in Kafka."`
	KafkaReplication int    `env:"KAFKA_REPLICATION" default:"0" help:"Replicas of the topics that the service creates in Kafka; 0 leaves it to the cluster."`

	HTTPAddr  string `env:"HTTP_ADDR" default:"127.0.0.1:8080" help:"Where the API listens."`
	AdminAddr string `env:"ADMIN_ADDR" default:"127.0.0.1:8081" help:"Where health, metrics and the admin pages listen. Keep it private."`

	LogLevel  string `env:"LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
	LogFormat string `env:"LOG_FORMAT" default:"auto" help:"text, json, or auto: text on a terminal, json otherwise."`

	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" default:"10s" help:"How long a stop waits for the requests and events in flight."`

	SMTPURL  string `name:"smtp-url" env:"SMTP_URL" secret:"url" help:"Mail server: smtp://user:password@host:port. Without it, mail is written to the log."`
	MailFrom string `env:"MAIL_FROM" default:"orders@example.com" help:"Sender of the mails."`

	ValidatePayloads string `name:"validate" env:"VALIDATE" default:"auto" help:"Check payloads against their schemas: on (published and received ones), off, or auto (published ones, on SQLite)."`

	SchemaRegistryURL      string `name:"schema-registry-url" env:"SCHEMA_REGISTRY_URL" secret:"url" help:"Schema registry with Confluent's API: https://user:password@host. Without it there is none."`
	SchemaRegistrySubjects string `env:"SCHEMA_REGISTRY_SUBJECTS" default:"version" help:"How its subjects are named: version (orders.placed.v2), record, topic-record or topic."`
	SchemaRegistryRequired bool   `env:"SCHEMA_REGISTRY_REQUIRED" default:"false" help:"Don't start with a schema that is not registered; otherwise that is a warning."`

	OutboxAttempts int `env:"OUTBOX_ATTEMPTS" default:"10" help:"How often an event may fail to be published, while the broker answers, before it is set aside."`

	ProcessedRetention   time.Duration `env:"PROCESSED_RETENTION" default:"168h" help:"How long a consumer remembers an event, to drop duplicates."`
	OutboxRetention      time.Duration `env:"OUTBOX_RETENTION" default:"24h" help:"How long events that a broker outside the database has confirmed are kept, in outbox_sent."`
	QueueRetention       time.Duration `env:"QUEUE_RETENTION" default:"24h" help:"How long messages that all consumers have passed stay in the SQL queue."`
	DeadLetterRetention  time.Duration `env:"DEAD_LETTER_RETENTION" default:"720h" help:"How long resolved and discarded dead letters are kept. Others are kept until someone decides."`
	IdempotencyRetention time.Duration `env:"IDEMPOTENCY_RETENTION" default:"24h" help:"How long Idempotency-Keys are remembered."`
	RetentionInterval    time.Duration `env:"RETENTION_INTERVAL" default:"10m" help:"Pause between two runs of the retention jobs."`
}

// The brokers that BROKER can name.
const (
	brokerSQL   = "sqlqueue"
	brokerKafka = "kafka"
)

// ErrSettings marks an error that another setting would avoid.
var ErrSettings = errors.New("the settings don't fit together")

var serviceNameForm = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// Validate returns all problems joined, each naming its variable, the value and
// the fix. Secrets are not repeated.
func (c Config) Validate() error {
	var problems []error
	problem := func(variable, value, fix string) {
		problems = append(problems, fmt.Errorf("%s: %q: %s", variable, value, fix))
	}
	if !serviceNameForm.MatchString(c.ServiceName) {
		problem("SERVICE_NAME", c.ServiceName, "use lower-case letters, digits and hyphens, such as order-service")
	}
	if _, err := database.ParseURL(c.DatabaseURL); err != nil {
		problem("DATABASE_URL", database.Redact(c.DatabaseURL), err.Error()+": give postgres://user:password@host/name or sqlite:path/to/file.db")
	}
	c.validateBroker(problem)
	c.validateListeners(problem)
	if _, err := telemetry.ParseLevel(c.LogLevel); err != nil {
		problem("LOG_LEVEL", c.LogLevel, "use debug, info, warn or error")
	}
	if formats := []string{telemetry.FormatAuto, telemetry.FormatText, telemetry.FormatJSON}; !slices.Contains(formats, c.LogFormat) {
		problem("LOG_FORMAT", c.LogFormat, "use text, json or auto")
	}
	if c.SMTPURL != "" {
		if _, err := handlers.ParseSMTPURL(c.SMTPURL); err != nil {
			problem("SMTP_URL", database.Redact(c.SMTPURL), err.Error())
		}
	}
	if modes := []string{validateOn, validateOff, validateAuto}; !slices.Contains(modes, c.ValidatePayloads) {
		problem("VALIDATE", c.ValidatePayloads, "use on, off or auto")
	}
	if c.SchemaRegistryURL != "" {
		if _, err := registry.ParseURL(c.SchemaRegistryURL); err != nil {
			problem("SCHEMA_REGISTRY_URL", database.Redact(c.SchemaRegistryURL), err.Error())
		}
	}
	if _, err := registry.ParseStrategy(c.SchemaRegistrySubjects); err != nil {
		problem("SCHEMA_REGISTRY_SUBJECTS", c.SchemaRegistrySubjects, "use version, record, topic-record or topic")
	}
	if a, err := mail.ParseAddress(c.MailFrom); err != nil || a.Address != c.MailFrom {
		problem("MAIL_FROM", c.MailFrom, "give a bare address such as orders@example.com")
	}
	for variable, n := range map[string]int{"DATABASE_MAX_CONNS": c.DatabaseMaxConns, "KAFKA_PARTITIONS": c.KafkaPartitions, "OUTBOX_ATTEMPTS": c.OutboxAttempts} {
		if n < 1 {
			problem(variable, fmt.Sprint(n), "give 1 or more")
		}
	}
	if c.KafkaReplication < 0 {
		problem("KAFKA_REPLICATION", fmt.Sprint(c.KafkaReplication), "give 0 or more")
	}
	for variable, d := range map[string]time.Duration{
		"SHUTDOWN_TIMEOUT": c.ShutdownTimeout, "PROCESSED_RETENTION": c.ProcessedRetention, "OUTBOX_RETENTION": c.OutboxRetention,
		"QUEUE_RETENTION": c.QueueRetention, "DEAD_LETTER_RETENTION": c.DeadLetterRetention,
		"IDEMPOTENCY_RETENTION": c.IdempotencyRetention, "RETENTION_INTERVAL": c.RetentionInterval,
	} {
		if d <= 0 {
			problem(variable, d.String(), "give a duration above zero, such as 10s or 24h")
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

func (c Config) validateBroker(problem func(variable, value, fix string)) {
	switch c.Broker {
	case brokerSQL:
		if c.BrokerURL == "" {
			return
		}
		if _, err := database.ParseURL(c.BrokerURL); err != nil {
			problem("BROKER_URL", database.Redact(c.BrokerURL), err.Error()+": with BROKER=sqlqueue give a database, or leave it empty for DATABASE_URL")
		}
	case brokerKafka:
		if c.BrokerURL == "" {
			problem("BROKER_URL", "", "with BROKER=kafka give kafka://host:9092")
		} else if _, err := kafka.ParseURL(c.BrokerURL); err != nil {
			problem("BROKER_URL", database.Redact(c.BrokerURL), "with BROKER=kafka give kafka://host:9092,host:9092")
		}
	default:
		problem("BROKER", c.Broker, "use sqlqueue or kafka")
	}
}

func (c Config) validateListeners(problem func(variable, value, fix string)) {
	for variable, addr := range map[string]string{"HTTP_ADDR": c.HTTPAddr, "ADMIN_ADDR": c.AdminAddr} {
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			problem(variable, addr, "give host:port, such as 127.0.0.1:8080")
		}
	}
	if c.HTTPAddr == c.AdminAddr && !strings.HasSuffix(c.HTTPAddr, ":0") {
		problem("ADMIN_ADDR", c.AdminAddr, "the API is there (HTTP_ADDR): give another port")
	}
}

// checkDedupeWindow refuses a window in which a duplicate could still come after
// its record is gone.
func (c Config) checkDedupeWindow(consumers []consumer.Consumer) error {
	horizon := consumer.RetryHorizon(consumers, c.consumerConfig())
	if c.ProcessedRetention < horizon {
		return fmt.Errorf("%w: PROCESSED_RETENTION: %q: shorter than the %s that the retries of one event can take, so a duplicate could be applied twice: give %s or more",
			ErrSettings, c.ProcessedRetention, horizon, horizon)
	}
	return nil
}

// Setting is one setting as it is in effect.
type Setting struct {
	Variable string `json:"variable"`
	Value    string `json:"value"`
	Default  string `json:"default"`
	Help     string `json:"help"`
}

// Settings lists all of them, secrets masked.
func (c Config) Settings() []Setting {
	v := reflect.ValueOf(c)
	settings := make([]Setting, v.NumField())
	for i := range settings {
		field := v.Type().Field(i)
		value := fmt.Sprint(v.Field(i).Interface())
		if d, ok := v.Field(i).Interface().(time.Duration); ok {
			value = shortDuration(d)
		}
		if field.Tag.Get("secret") == "url" && value != "" {
			value = database.Redact(value)
		}
		settings[i] = Setting{Variable: field.Tag.Get("env"), Value: value, Default: field.Tag.Get("default"), Help: field.Tag.Get("help")}
	}
	return settings
}

// shortDuration writes 168h, as the defaults do, where String writes 168h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
