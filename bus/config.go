package bus

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes/redact"
	"github.com/tailrace-go/tailrace/internal/telemetry"
	"github.com/tailrace-go/tailrace/topics"
)

// DefaultVersion is the service version of a Bus that is not told one.
const DefaultVersion = "1.0.0"

// Config is what a [Bus] is made from: a service name, and one of Publisher and DB.
type Config struct {
	// Service is the name of the publishing service, in the envelopes and in the names of domain topics.
	// Required.
	Service string
	// Version is the service's version. Default: 1.0.0.
	Version string
	// Topics names the topics. Default: no prefix and the usual names.
	Topics topics.Naming

	// Publisher takes the events of a Bus without an outbox. It is the caller's to close.
	Publisher message.Publisher

	// DB is the database of the outbox table; it turns the outbox on. It is the caller's to close.
	// Transact takes a connection of its pool for as long as it runs.
	DB *sql.DB
	// Table is the outbox table, "table" or "schema.table". Default: event_outbox.
	Table string
	// Shards is outbox.WriterConfig.Shards: how many shards the outbox must have at least, for events to go to
	// the shard of their key. Default: 0, an outbox of one table.
	Shards int
	// Prepare is outbox.WriterConfig.Prepare: the INSERT of a single event is prepared once on each connection of
	// DB. Not behind a pooler in transaction mode. Default: false.
	Prepare bool
	// Outbox writes the events in place of an outbox.Writer on DB, Table and Shards. Without DB there is no
	// Transact.
	Outbox Outbox
	// OnCommit, if set, is called once after each transaction that [Bus.Transact] committed and after
	// each event written on its own, to wake a forwarder in this process. It must not block.
	OnCommit func()

	// Redact leaves secrets out of what an audit event tells of the operation: its details, states and
	// security context. The payloads of other events are the caller's own. Default: fields tagged
	// redact:"true" or named like a secret become "[redacted]", nothing is cut; redact.None() turns it off.
	Redact *redact.Redactor
	// Tracer makes the spans of publishing; see the package's section on tracing. Default: OpenTelemetry's
	// global provider. With noop.NewTracerProvider() no spans are made, and the events have the caller's.
	Tracer trace.TracerProvider
	// NoTracing makes no spans and leaves the context's OpenTelemetry span out of the events.
	NoTracing bool
	// Metrics, if set, gets the Bus's metrics; see the package's section on them. Several Buses on one
	// Registerer count together. Default: none.
	Metrics prometheus.Registerer
	// Clock tells the time of events that have none. Default: time.Now.
	Clock func() time.Time
	// Logger gets one line at debug level an event, without payloads. What goes wrong is returned, not logged.
	// Default: none.
	Logger *slog.Logger
}

// Outbox writes messages to an outbox table; *outbox.Writer is one.
type Outbox interface {
	// Write writes msgs in order, in one statement, as part of tx, or on their own when tx is nil;
	// topics[i] is the destination of msgs[i]. It never ends tx.
	Write(ctx context.Context, tx Tx, topics []string, msgs []*message.Message) error
	// Republish is Write that leaves out what is there already, and returns how many it wrote.
	Republish(ctx context.Context, tx Tx, topics []string, msgs []*message.Message) (int64, error)
}

var (
	// ErrConfig is wrapped by every mistake in a [Config].
	ErrConfig = errors.New("bus: invalid configuration")
	// ErrNoOutbox: a transaction was given to a Bus that has no outbox.
	ErrNoOutbox = errors.New("bus: no outbox to write to in a transaction: set Config.DB, or publish without a transaction")
	// ErrDuplicate is outbox.ErrDuplicate: an event with this id is in the outbox already, and the
	// transaction is aborted now.
	ErrDuplicate = outbox.ErrDuplicate
)

// New checks the configuration, reporting all mistakes at once, and makes a Bus. It opens and starts
// nothing, so there is nothing to close.
func New(config Config) (*Bus, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if config.Service == "" {
		fault("Service is empty: name the publishing service")
	} else if err := topics.Check(config.Service); err != nil {
		fault("Service is part of topic names: %w", err)
	}
	if err := config.Topics.Validate(); err != nil {
		fault("Topics: %w", err)
	}
	outboxed := config.DB != nil || config.Outbox != nil
	switch {
	case config.Publisher == nil && !outboxed:
		fault("neither DB nor Publisher is set: give DB to publish through the outbox, Publisher to publish directly")
	case config.Publisher != nil && outboxed:
		fault("both an outbox and Publisher are set: an event goes one way only, leave one out")
	case config.DB != nil && config.Outbox == nil:
		writer, err := outbox.NewWriter(outbox.WriterConfig{DB: config.DB, Table: config.Table, Shards: config.Shards, Prepare: config.Prepare})
		if err != nil {
			fault("Table, Shards: %w", err)
		} else {
			config.Outbox = writer
		}
	case config.Table != "":
		fault("Table is set, but no DB to have it in: the table of an Outbox of your own is its own matter")
	case config.Prepare:
		fault("Prepare is set, but no DB to prepare on: how an Outbox of your own writes is its own matter")
	case config.Shards != 0:
		fault("Shards is set, but no DB to have them in: those of an Outbox of your own are its own matter")
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	c := &core{Config: config}
	if !config.NoTracing {
		c.spans = telemetry.NewSpans(config.Tracer, scope)
	}
	if config.Metrics != nil {
		var err error
		if c.metrics, err = newMetrics(config.Metrics); err != nil {
			return nil, fmt.Errorf("%w: Metrics: %w", ErrConfig, err)
		}
	}
	c.Version = cmp.Or(config.Version, DefaultVersion)
	if config.Clock == nil {
		c.Clock = time.Now
	}
	if config.Redact == nil {
		c.Redact = defaultRedactor()
	}
	if config.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Bus{core: c}, nil
}
