package connect

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/topics"
)

// ErrConfig is wrapped by every mistake in the settings.
var ErrConfig = errors.New("connect: invalid configuration")

// Config is the settings of a publishing service. [Load] fills in those with a variable; the others are
// the caller's. Its zero value has none of the defaults: start from Load(nil).
type Config struct {
	// KafkaBrokers are host:port, comma-separated in the variable. A port left out is 9092.
	KafkaBrokers []string `env:"KAFKA_BROKERS" envDefault:"localhost:9092"`
	// KafkaSecurityProtocol is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
	KafkaSecurityProtocol kafka.SecurityProtocol `env:"KAFKA_SECURITY_PROTOCOL" envDefault:"PLAINTEXT"`
	// KafkaSASL… are used with SASL_PLAINTEXT and SASL_SSL; the mechanism is PLAIN, SCRAM-SHA-256 or
	// SCRAM-SHA-512.
	KafkaSASLMechanism kafka.Mechanism `env:"KAFKA_SASL_MECHANISM"`
	KafkaSASLUsername  string          `env:"KAFKA_SASL_USERNAME"`
	KafkaSASLPassword  kafka.Secret    `env:"KAFKA_SASL_PASSWORD"`
	// KafkaSSL… are PEM files, used with SSL and SASL_SSL: the authorities to trust in place of the
	// system's, and the client's certificate and key.
	KafkaSSLCAFile   string `env:"KAFKA_SSL_CA_FILE"`
	KafkaSSLCertFile string `env:"KAFKA_SSL_CERT_FILE"`
	KafkaSSLKeyFile  string `env:"KAFKA_SSL_KEY_FILE"`

	// TopicPrefix stands before every topic's name.
	TopicPrefix string `env:"EVENT_TOPIC_PREFIX" envDefault:"marty"`
	// AuditTopic, NotificationTopic and DeadLetterTopic are names without the prefix.
	AuditTopic        string `env:"EVENT_AUDIT_TOPIC" envDefault:"audit.events"`
	NotificationTopic string `env:"EVENT_NOTIFICATION_TOPIC" envDefault:"notification.events"`
	DeadLetterTopic   string `env:"EVENT_DEAD_LETTER_TOPIC" envDefault:"dead.letter.queue"`

	ServiceName    string `env:"SERVICE_NAME" envDefault:"unknown"`
	ServiceVersion string `env:"SERVICE_VERSION" envDefault:"1.0.0"`

	// UseOutbox turns the outbox on or off; nil leaves it to whether there is a database.
	UseOutbox *bool `env:"USE_OUTBOX_PATTERN"`
	// DatabaseURL is the database of the outbox, as lib/pq takes it.
	DatabaseURL DSN `env:"DATABASE_URL"`
	// OutboxTable is "table" or "schema.table".
	OutboxTable string `env:"EVENT_OUTBOX_TABLE" envDefault:"event_outbox"`
	// OutboxShards is how many shards the outbox must have at least, for events to go to the shard of their
	// key; 0 is an outbox of one table. See docs/operations.md.
	OutboxShards int `env:"EVENT_OUTBOX_SHARDS" envDefault:"0"`
	// OutboxPrepare has the INSERT of an event prepared once on each connection, which a pooler in transaction
	// mode may not know what to do with; see outbox.WriterConfig.
	OutboxPrepare bool `env:"EVENT_OUTBOX_PREPARE" envDefault:"false"`

	// Tracing makes the spans of publishing and puts their trace and span ids into the events; see package
	// bus. Without it there are neither spans nor ids.
	Tracing bool `env:"ENABLE_EVENT_TRACING" envDefault:"true"`
	// Metrics counts what is published, on Registerer; see package bus.
	Metrics bool `env:"ENABLE_EVENT_METRICS" envDefault:"true"`

	// DB, if set, is the database of the outbox in place of DatabaseURL. It stays the caller's to close.
	DB *sql.DB `env:"-"`
	// Tracer makes the spans if Tracing is on. Default: OpenTelemetry's global provider.
	Tracer trace.TracerProvider `env:"-"`
	// Registerer gets the metrics if Metrics is on. Default: prometheus.DefaultRegisterer.
	Registerer prometheus.Registerer `env:"-"`
	// OnCommit is bus.Config.OnCommit.
	OnCommit func() `env:"-"`
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger `env:"-"`
}

// Load reads the settings that have a variable from environ, which maps names to values. The error lists
// every value that was not understood, by its variable and without the value, and wraps [ErrConfig]; the
// Config then has the defaults in their places, so that [Config.Validate] can find the other mistakes.
func Load(environ map[string]string) (Config, error) {
	// A nil map would mean the process's environment to env.
	environ = maps.Clone(environ)
	if environ == nil {
		environ = map[string]string{}
	}
	var config Config
	err := env.ParseWithOptions(&config, env.Options{
		Environment: environ,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[bool](): parseBool, reflect.TypeFor[int](): parseInt},
	})
	// env takes a variable that is set to nothing for unset.
	if prefix, set := environ["EVENT_TOPIC_PREFIX"]; set && prefix == "" {
		config.TopicPrefix = ""
	}
	var faults []error
	if err != nil {
		faults, err = variablesOf(&config, err)
		if err != nil {
			return config, err
		}
	}
	if brokers, err := kafka.ParseBrokers(strings.Join(config.KafkaBrokers, ",")); err == nil {
		config.KafkaBrokers = brokers
	}
	return config, errors.Join(faults...)
}

// parseBool is stricter than the older publisher, which took anything but "true" for false.
func parseBool(value string) (any, error) {
	parsed, err := strconv.ParseBool(strings.TrimSpace(value))
	if err != nil {
		return nil, errors.New("is not a boolean: write true or false (1 and 0 will do)")
	}
	return parsed, nil
}

// parseInt says what is wrong without the value.
func parseInt(value string) (any, error) {
	parsed, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		return nil, errors.New("is not a whole number")
	}
	return parsed, nil
}

// variablesOf turns env's faults, which name fields, into faults that name variables.
func variablesOf(config *Config, err error) ([]error, error) {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return nil, fmt.Errorf("connect: %w", err)
	}
	var faults []error
	shape := reflect.TypeFor[Config]()
	for _, one := range all.Errors {
		var parse env.ParseError
		if !errors.As(one, &parse) {
			return nil, fmt.Errorf("connect: %w", one)
		}
		field, _ := shape.FieldByName(parse.Name)
		faults = append(faults, fault(field.Tag.Get("env"), "%w", parse.Err))
		if standard := field.Tag.Get("envDefault"); standard != "" && field.Type.Kind() == reflect.Bool {
			reflect.ValueOf(config).Elem().FieldByIndex(field.Index).SetBool(standard == "true")
		}
	}
	return faults, nil
}

func fault(variable, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrConfig, variable, fmt.Errorf(format, args...))
}

// Topics returns how topics are named.
func (c Config) Topics() topics.Naming {
	return topics.Naming{
		Prefix: c.TopicPrefix, AuditName: c.AuditTopic, NotificationName: c.NotificationTopic, DeadLetterName: c.DeadLetterTopic,
	}
}

// Kafka returns how to reach the cluster. What the security protocol does not use is left out.
func (c Config) Kafka() kafka.Config {
	config := kafka.Config{Brokers: c.KafkaBrokers, SecurityProtocol: c.KafkaSecurityProtocol, ClientID: c.ServiceName}
	if c.usesSASL() {
		config.SASL = kafka.SASL{Mechanism: c.KafkaSASLMechanism, Username: c.KafkaSASLUsername, Password: c.KafkaSASLPassword}
	}
	if c.usesTLS() {
		config.TLS = kafka.TLS{CAFile: c.KafkaSSLCAFile, CertFile: c.KafkaSSLCertFile, KeyFile: c.KafkaSSLKeyFile}
	}
	return config
}

func (c Config) usesSASL() bool {
	return c.KafkaSecurityProtocol == kafka.SASLPlaintext || c.KafkaSecurityProtocol == kafka.SASLSSL
}

func (c Config) usesTLS() bool {
	return c.KafkaSecurityProtocol == kafka.SSL || c.KafkaSecurityProtocol == kafka.SASLSSL
}

// Outboxed reports whether events go through an outbox; see the package's table.
func (c Config) Outboxed() bool {
	if c.UseOutbox != nil {
		return *c.UseOutbox
	}
	return c.DB != nil || c.DatabaseURL != ""
}

// registerer returns the one to count on, nil for none.
func (c Config) registerer() prometheus.Registerer {
	switch {
	case !c.Metrics:
		return nil
	case c.Registerer != nil:
		return c.Registerer
	}
	return prometheus.DefaultRegisterer
}
