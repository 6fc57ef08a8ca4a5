package forwarder

import (
	"cmp"
	"database/sql"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/settings"
)

// Config says what a [Forwarder] forwards, to where, and how. DB and Sender are required; every other
// zero value stands for its default.
type Config struct {
	// DB is the database that holds the outbox. The forwarder uses three connections: one owns the outbox
	// and reads, one settles, one purges. The owner's must reach the server directly or
	// through a session pooler, since a transaction pooler would lose the lock.
	DB *sql.DB
	// Table is the outbox table, with its schema if it is not on the search path. Default event_outbox.
	Table string
	// Name is what metrics, the label outbox, and logs call the outbox. Default: the table's name.
	Name string
	// Sender carries the records: a bus/kafka Sender, or [NewPublisherSender] for any Watermill
	// publisher. The forwarder does not close it.
	Sender delivery.Sender
	// DeadLetterTopic is where copies of events that spent their attempts go, complete with prefix.
	// Default marty.dead.letter.queue.
	DeadLetterTopic string
	// Owner names this process in the state table and in logs. Default host:pid.
	Owner string

	// BatchSize is how many rows one statement reads at most. Default 2,000.
	BatchSize int
	// Window is how many rows may be on their way at once, read but not yet settled. Default 8,000.
	Window int
	// WindowBytes bounds the same in bytes of payloads, keys and headers. Default 64 MiB.
	WindowBytes int64
	// PollMin and PollMax bound the time between two reads that found nothing more to read: the former
	// within a second of the last row, then a fortieth of the time since that row, up to the latter. Default
	// 2 ms and 100 ms.
	PollMin, PollMax time.Duration

	// Lease is how long an owner acts on its last heartbeat. A quarter more and the server frees a
	// frozen owner's lock. Default 1.2 s.
	Lease time.Duration
	// StandbyPoll is how often a process that stands by tries to become the owner. Default 200 ms.
	StandbyPoll time.Duration

	// RetryMin and RetryMax bound the wait before a refused event is tried again, doubling with each
	// attempt. Default 1 s and 5 min.
	RetryMin, RetryMax time.Duration
	// TopicRetryMin and TopicRetryMax bound the time between two attempts counted against the first
	// event of each key while a topic is unknown or not authorised. Whether the topic is mended is
	// asked far more often. Default 1 min and 15 min.
	TopicRetryMin, TopicRetryMax time.Duration

	// Retention is how long processed rows are kept. Default 7 days.
	Retention time.Duration
	// DeleteProcessed deletes rows instead of marking them processed; Retention then has no meaning for
	// rows settled from then on.
	DeleteProcessed bool
	// PurgeInterval is the time between two purges of old processed rows. Default 1 min.
	PurgeInterval time.Duration
	// SweepInterval is the time between two looks for pending rows that the reader missed. Default 10 s.
	SweepInterval time.Duration
	// DrainTimeout bounds how long a stopping forwarder waits for what is on its way. Default 15 s.
	DrainTimeout time.Duration

	// Logger gets a line for each thing an operator acts on, never a payload. Default slog.Default().
	Logger *slog.Logger
	// Registerer, if set, gets the forwarder's metrics. How much waits is asked of the database every 5 s
	// then, on a fourth connection if the pool has it.
	Registerer prometheus.Registerer
	// Tracer, if set, provides the tracer of a span "send {topic}" for each batch that the broker answered,
	// of kind CLIENT, by OpenTelemetry's messaging conventions 1.43.0. It has links to the spans that
	// published the events (the rows' traceparent), the first 128 that are sampled. The span of a batch of
	// one event is in that event's trace, as a child of the span that published it; the others are traces of
	// their own. Default: no spans, not even of OpenTelemetry's global provider.
	Tracer trace.TracerProvider

	wake chan struct{}
}

// connections is how many the forwarder holds at once; with fewer, settling would wait for the owner's
// connection for ever.
const connections = 3

// withDefaults returns the completed configuration, or every mistake in it.
func (c Config) withDefaults() (Config, error) {
	var faults settings.Faults
	faults.DB(c.DB, "the outbox", connections)
	faults.If(c.Sender == nil, "Sender is nil: pass a kafka.Sender, or NewPublisherSender over a Watermill publisher")
	faults.Window(&c.BatchSize, &c.Window, &c.WindowBytes, 1<<refBits, 8000)
	faults.Duration("PollMin", &c.PollMin, 2*time.Millisecond)
	faults.Duration("PollMax", &c.PollMax, 100*time.Millisecond)
	faults.Duration("Lease", &c.Lease, 1200*time.Millisecond)
	faults.Duration("StandbyPoll", &c.StandbyPoll, 200*time.Millisecond)
	faults.Duration("RetryMin", &c.RetryMin, time.Second)
	faults.Duration("RetryMax", &c.RetryMax, 5*time.Minute)
	faults.Duration("TopicRetryMin", &c.TopicRetryMin, time.Minute)
	faults.Duration("TopicRetryMax", &c.TopicRetryMax, 15*time.Minute)
	faults.Duration("Retention", &c.Retention, 7*24*time.Hour)
	faults.Duration("PurgeInterval", &c.PurgeInterval, time.Minute)
	faults.Duration("SweepInterval", &c.SweepInterval, 10*time.Second)
	faults.Duration("DrainTimeout", &c.DrainTimeout, 15*time.Second)
	faults.If(c.PollMin > c.PollMax, "PollMin %v is above PollMax %v", c.PollMin, c.PollMax)
	faults.If(c.RetryMin > c.RetryMax, "RetryMin %v is above RetryMax %v", c.RetryMin, c.RetryMax)
	faults.If(c.TopicRetryMin > c.TopicRetryMax, "TopicRetryMin %v is above TopicRetryMax %v", c.TopicRetryMin, c.TopicRetryMax)
	faults.If(c.Lease < 100*time.Millisecond, "Lease is %v: below 100ms a pause of the process would lose the outbox", c.Lease)
	c.Name = cmp.Or(c.Name, c.Table, outbox.DefaultTable)
	faults.DeadLetterTopic(&c.DeadLetterTopic)
	c.Owner = settings.Owner(c.Owner)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.wake = make(chan struct{}, 1)
	return c, faults.Err("forwarder")
}
