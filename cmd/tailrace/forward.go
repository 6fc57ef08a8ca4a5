package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
	"github.com/tailrace-go/tailrace/topics"
)

// poolSize is the connections a forwarder uses (see forwarder.Config.DB) and one to spare.
const poolSize = 5

// forwardSettings are what `tailrace forward` can be told.
type forwardSettings struct {
	settings

	database databaseSettings
	kafka    kafkaSettings
	log      logSettings

	prefix, deadLetter string
	batch, window      int
	retention          time.Duration
	lease, drain       time.Duration
	address            string
}

func forwardCommand() *cobra.Command {
	s := &forwardSettings{}
	cmd := &cobra.Command{
		Use:   "forward",
		Short: "Forward the outbox to Kafka until stopped",
		Long: `Forward the outbox to Kafka: at least once, and in order within a key.

Any number of these processes may run. One owns the outbox and forwards; the others stand by and take
over when it ends or freezes. It waits for a database or a broker that is away, and says so on /readyz.
It ends with an error at once when the outbox table is missing or not up to date.

SIGTERM or SIGINT stops it cleanly: it finishes what is on its way and makes no duplicate. A second
signal ends it at once.`,
	}
	s.define(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return s.run(cmd)
	}
	return cmd
}

func (s *forwardSettings) define(cmd *cobra.Command) {
	s.database.define(&s.settings, cmd)
	s.kafka.define(&s.settings, cmd)
	s.log.define(&s.settings, cmd)
	define(&s.settings, cmd, &s.prefix, setting{flag: "topic-prefix", variable: "EVENT_TOPIC_PREFIX", kind: "name", text: "marty"},
		"what stands before the dead-letter topic's name; events carry their whole topic name already", parseText)
	define(&s.settings, cmd, &s.deadLetter, setting{flag: "dead-letter-topic", variable: "EVENT_DEAD_LETTER_TOPIC", kind: "name", text: topics.DefaultDeadLetter},
		"where copies of events go that spent their attempts, without the prefix", parseText)
	define(&s.settings, cmd, &s.batch, setting{flag: "batch-size", variable: "TAILRACE_BATCH_SIZE", kind: "rows", text: "2000"},
		"how many rows one read takes at most", parseCount(1, 1<<16))
	define(&s.settings, cmd, &s.window, setting{flag: "window", variable: "TAILRACE_WINDOW", kind: "rows", text: "40000"},
		"how many rows may be on their way at once, read but not yet settled", parseCount(1, 10_000_000))
	define(&s.settings, cmd, &s.retention, setting{flag: "retention", variable: "TAILRACE_RETENTION", kind: "duration", text: "7d"},
		"how long processed rows are kept; 0 deletes a row as soon as it is delivered", parseDuration(0))
	define(&s.settings, cmd, &s.lease, setting{flag: "lease", variable: "TAILRACE_LEASE", kind: "duration", text: "1.2s"},
		"how long the owner acts on its last heartbeat; a frozen owner is replaced after a quarter more", parseDuration(100*time.Millisecond))
	define(&s.settings, cmd, &s.drain, setting{flag: "drain-timeout", variable: "TAILRACE_DRAIN_TIMEOUT", kind: "duration", text: "15s"},
		"how long a stopping process waits for what is on its way", parseDuration(time.Millisecond))
	define(&s.settings, cmd, &s.address, setting{flag: "http-addr", variable: "TAILRACE_HTTP_ADDR", kind: "host:port", text: "127.0.0.1:8090"},
		"where /healthz, /readyz and /metrics are served; off for nowhere", parseListenAddress)
}

func (s *forwardSettings) run(cmd *cobra.Command) (err error) {
	faults := []error{s.resolve(cmd.Flags(), os.LookupEnv), s.database.check()}
	logger := s.log.logger(cmd.ErrOrStderr())
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	db := s.database.open(poolSize)
	defer func() { _ = db.Close() }()
	sender, forward, err := s.build(db, logger, registry)
	if err := badConfiguration(append(faults, err)...); err != nil {
		return err
	}
	// After Run: a closed sender would hold back what is on its way.
	defer func() { err = errors.Join(err, sender.Close()) }()
	monitor, err := listen(s.address)
	if err != nil {
		return err
	}
	defer monitor.close()
	monitor.serve(readiness(cmd.Context(), forward), registry, logger)
	logger.Info("forwarding", "table", s.database.table, "kafka", s.kafka.config, "version", version())
	err = forward.Run(cmd.Context())
	if err != nil {
		return s.explain(err)
	}
	logger.Info("stopped", "pid", strconv.Itoa(os.Getpid()))
	return nil
}

// build makes the sender and the forwarder, reporting what is wrong with either.
func (s *forwardSettings) build(db *sql.DB, logger *slog.Logger, registry prometheus.Registerer) (*kafka.Sender, *forwarder.Forwarder, error) {
	deadLetter, err := topics.Naming{Prefix: s.prefix, DeadLetterName: s.deadLetter}.DeadLetter()
	faults := []error{err}
	sender, err := s.kafka.sender(os.Getenv("KAFKA_SASL_PASSWORD"), logger)
	faults = append(faults, err)
	config := forwarder.Config{
		DB: db, Table: s.database.table, Sender: sender, DeadLetterTopic: deadLetter,
		BatchSize: s.batch, Window: s.window, Retention: s.retention, DeleteProcessed: s.retention == 0,
		Lease: s.lease, DrainTimeout: s.drain, Logger: logger, Registerer: registry,
	}
	if sender == nil {
		config.Sender = forwarder.NewPublisherSender(nil, forwarder.PublisherSenderConfig{}) // to find its other faults
	}
	forward, err := forwarder.New(config)
	return sender, forward, errors.Join(append(faults, err)...)
}

// readiness is the forwarder's, until the process is told to stop.
func readiness(ctx context.Context, forward *forwarder.Forwarder) probe {
	return func() (string, error) {
		status := forward.Status()
		if ctx.Err() != nil {
			return status.String(), errors.New("stopping")
		}
		return status.String(), status.Ready()
	}
}

func (s *forwardSettings) explain(err error) error {
	if errors.Is(err, outbox.ErrNoTable) || errors.Is(err, outbox.ErrNotMigrated) {
		return fmt.Errorf("%w\nrun this, with the same DATABASE_URL, and start again: %s", err, s.database.migrateCommandFor())
	}
	return err
}
