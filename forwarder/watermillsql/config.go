package watermillsql

import (
	"cmp"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/forwarder/internal/settings"
)

// Config says what a [Forwarder] forwards, to where, and how. DB and Sender are required; every other
// zero value stands for its default.
type Config struct {
	// DB is the database that holds Watermill's tables. The forwarder uses two connections, and every five
	// seconds a third when it has a Registerer. The one that reads must reach the server directly or
	// through a session pooler, since a transaction pooler would lose the lock.
	DB *sql.DB
	// Topic is what Watermill's forwarder has for its ForwarderTopic. Default forwarder_topic, as there.
	Topic string
	// ConsumerGroup is what Watermill's subscriber has for it. Default "", as there.
	ConsumerGroup string
	// Schema and Offsets are what Watermill's subscriber has, if its tables are not named by default.
	Schema  wsql.DefaultPostgreSQLSchema
	Offsets wsql.DefaultPostgreSQLOffsetsAdapter
	// Sender carries the records, for instance a bus/kafka Sender. To send a key to the partition where
	// watermill-kafka's publisher has sent it, that one needs the partitioner kafka.FNV1a, which dead letters
	// then say for whoever requeues them (if it has a method Partitioner, as that one). It is the
	// caller's to close.
	Sender delivery.Sender
	// KeyMetadata is the field of a message's metadata that holds its record key. It stays a header too, as
	// with watermill-kafka. A message without it, or with an empty one, has a null key, as all have by
	// default.
	KeyMetadata string
	// DeadLetterTopic is where copies of messages go that can't be delivered, complete with prefix.
	// Default marty.dead.letter.queue.
	DeadLetterTopic string
	// Attempts is how often a message is tried that the broker refuses for its own sake, by this process.
	// Default 3.
	Attempts int
	// Owner names this process in logs. Default host:pid.
	Owner string

	// BatchSize is how many rows one statement reads at most. Default 2,000.
	BatchSize int
	// Window is how many rows may be read beyond the recorded position: after a crash, at most these are
	// delivered twice. Default 40,000.
	Window int
	// WindowBytes bounds the same in bytes of payloads and headers. Default 64 MiB.
	WindowBytes int64
	// PollMin and PollMax bound the time between two reads that found nothing more to read: the former
	// within a second of the last row, growing to the latter when idle. Default 2 ms and 50 ms.
	PollMin, PollMax time.Duration

	// Lease is how long an owner acts on its last heartbeat. A quarter more and the server frees a
	// frozen owner's lock. Default 1.2 s.
	Lease time.Duration
	// StandbyPoll is how often a process that stands by tries to become the owner. Default 200 ms.
	StandbyPoll time.Duration
	// LockTimeout is how long a statement waits for the offsets row, which Watermill's forwarder locks for
	// a batch at a time, before that one is said to be at work. Default 500 ms.
	LockTimeout time.Duration
	// RetryMin and RetryMax bound the wait before a refused message is tried again, doubling with each
	// attempt. Default 1 s and 1 min.
	RetryMin, RetryMax time.Duration
	// DrainTimeout bounds how long a stopping forwarder waits for what is on its way. Default 15 s.
	DrainTimeout time.Duration

	// Logger gets a line for each thing an operator acts on, never a payload. Default slog.Default().
	Logger *slog.Logger
	// Registerer, if set, gets the metrics. How much waits is asked of the database every 5 s then.
	Registerer prometheus.Registerer
	// Tracer, if set, provides the tracer of a span for each batch, as that of forwarder.Config does.
	Tracer trace.TracerProvider
}

// connections is how many the forwarder holds at once.
const connections = 2

// DefaultTopic is Watermill's own default of a ForwarderTopic.
const DefaultTopic = "forwarder_topic"

// withDefaults returns the completed configuration, or every mistake in it.
func (c Config) withDefaults() (Config, error) {
	var faults settings.Faults
	faults.DB(c.DB, "Watermill's tables", connections)
	faults.If(c.Sender == nil, "Sender is nil: pass a kafka.Sender")
	c.Topic = cmp.Or(c.Topic, DefaultTopic)
	faults.Add(checkTopic(c.Topic))
	faults.If(c.Attempts < 0, "Attempts is %d: it must be positive, or 0 for the default", c.Attempts)
	faults.Window(&c.BatchSize, &c.Window, &c.WindowBytes, 1<<refBits, 40_000)
	faults.Duration("PollMin", &c.PollMin, 2*time.Millisecond)
	faults.Duration("PollMax", &c.PollMax, 50*time.Millisecond)
	faults.Duration("Lease", &c.Lease, 1200*time.Millisecond)
	faults.Duration("StandbyPoll", &c.StandbyPoll, 200*time.Millisecond)
	faults.Duration("LockTimeout", &c.LockTimeout, 500*time.Millisecond)
	faults.Duration("RetryMin", &c.RetryMin, time.Second)
	faults.Duration("RetryMax", &c.RetryMax, time.Minute)
	faults.Duration("DrainTimeout", &c.DrainTimeout, 15*time.Second)
	faults.If(c.PollMin > c.PollMax, "PollMin %v is above PollMax %v", c.PollMin, c.PollMax)
	faults.If(c.RetryMin > c.RetryMax, "RetryMin %v is above RetryMax %v", c.RetryMin, c.RetryMax)
	faults.If(c.Lease < 100*time.Millisecond, "Lease is %v: below 100ms a pause of the process would lose the tables", c.Lease)
	faults.If(c.LockTimeout < time.Millisecond, "LockTimeout is %v: it must be at least 1ms", c.LockTimeout)
	c.Attempts = cmp.Or(c.Attempts, 3)
	faults.DeadLetterTopic(&c.DeadLetterTopic)
	c.Owner = settings.Owner(c.Owner)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c, faults.Err("watermillsql")
}

// checkTopic is watermill-sql's rule for topics, which become tables' names.
func checkTopic(topic string) error {
	for i, r := range topic {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '$', r == ':', r == '.', r == '_':
		default:
			return fmt.Errorf("the Topic has %q at byte %d: watermill-sql takes letters, digits and -$:._ only", r, i)
		}
	}
	return nil
}
