package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

// forwardSettings are what `tailrace forward` can be told, besides what bus/connect knows.
type forwardSettings struct {
	outboxSettings

	log                     logSettings
	watermill               watermillSettings
	engine                  engineName
	batch, window           int
	retention, lease, drain time.Duration
	compression             kafka.Compression
	create                  bool
	partitions, replication int
	address                 string
}

func forwardCommand() *cobra.Command {
	s := &forwardSettings{}
	cmd := &cobra.Command{
		Use:   "forward",
		Short: "Forward the outbox to Kafka until stopped",
		Long: `Forward the outbox to Kafka, or several: at least once, and in order within a key.

Any number of these processes may run. An outbox is owned by one of them, which forwards it; the others
stand by and take over when it ends or freezes. Several outboxes are spread evenly over the processes.
It waits for a database or a broker that is away, and says so on /readyz. It ends with an error at once
when an outbox table is missing or not up to date.

SIGTERM or SIGINT stops it cleanly: it finishes what is on its way and makes no duplicate. A second
signal ends it at once.

` + watermillHelp + `

` + tracingHelp,
	}
	s.define(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.run(cmd) }
	return cmd
}

func (s *forwardSettings) define(cmd *cobra.Command) {
	s.shareOutboxes(cmd)
	s.shareKafka(cmd)
	s.share(cmd, setting{flag: "topic-prefix", variable: "EVENT_TOPIC_PREFIX", kind: "name"},
		"what stands before the dead-letter topic's name; events carry their whole topic name already")
	s.share(cmd, setting{flag: "dead-letter-topic", variable: "EVENT_DEAD_LETTER_TOPIC", kind: "name"},
		"where copies of events go that spent their attempts, without the prefix")
	own := &s.settings
	s.defineGroup(cmd, "the processes of one name share out their outboxes; give those that serve other outboxes another")
	define(own, cmd, &s.batch, setting{flag: "batch-size", variable: "TAILRACE_BATCH_SIZE", kind: "rows", text: "2000"},
		"how many rows one read takes at most", parseCount(1, 1<<16))
	define(own, cmd, &s.window, setting{flag: "window", variable: "TAILRACE_WINDOW", kind: "rows", text: "8000"},
		"how many rows may be on their way at once, read but not yet settled", parseCount(1, 10_000_000))
	define(own, cmd, &s.retention, setting{flag: "retention", variable: "TAILRACE_RETENTION", kind: "duration", text: "7d"},
		"how long processed rows are kept; 0 deletes a row as soon as it is delivered", parseDuration(0))
	define(own, cmd, &s.lease, setting{flag: "lease", variable: "TAILRACE_LEASE", kind: "duration", text: "1.2s"},
		"how long the owner acts on its last heartbeat; a frozen owner is replaced after a quarter more", parseDuration(100*time.Millisecond))
	define(own, cmd, &s.drain, setting{flag: "drain-timeout", variable: "TAILRACE_DRAIN_TIMEOUT", kind: "duration", text: "15s"},
		"how long a stopping process waits for what is on its way", parseDuration(time.Millisecond))
	define(own, cmd, &s.compression, setting{flag: "compression", variable: "TAILRACE_COMPRESSION", kind: "codec", text: "none"},
		"compression of batches: none, gzip, snappy, lz4 or zstd",
		oneOf(kafka.NoCompression, kafka.Gzip, kafka.Snappy, kafka.LZ4, kafka.Zstd))
	define(own, cmd, &s.create, setting{flag: "create-topics", variable: "TAILRACE_CREATE_TOPICS", kind: "bool", text: "false"},
		"create topics that are missing; without it their events wait until somebody does", parseBool)
	define(own, cmd, &s.partitions, setting{flag: "topic-partitions", variable: "TAILRACE_TOPIC_PARTITIONS", kind: "count", text: "6"},
		"partitions of topics made by --create-topics; keys move when a topic grows, so start with enough", parseCount(1, 10_000))
	define(own, cmd, &s.replication, setting{flag: "topic-replication", variable: "TAILRACE_TOPIC_REPLICATION", kind: "count", text: "0"},
		"replicas of topics made by --create-topics; 0 leaves it to the broker", parseCount(0, math.MaxInt16))
	define(own, cmd, &s.engine, setting{flag: "engine", variable: "TAILRACE_ENGINE", kind: "name", text: "pipeline"},
		"pipeline, or watermill: Watermill's own forwarder component over the same table, by the same rules, one event after the other", oneOf(pipelineEngine, watermillEngine))
	define(own, cmd, &s.address, setting{flag: "http-addr", variable: "TAILRACE_HTTP_ADDR", kind: "host:port", text: "127.0.0.1:8090"},
		"where /healthz, /readyz and /metrics are served; off for nowhere", parseListenAddress)
	s.watermill.define(own, cmd)
	s.log.define(own, cmd)
}

func (s *forwardSettings) run(cmd *cobra.Command) (err error) {
	environ := environment()
	shared, outboxes, err := s.outboxes(cmd.Flags(), environ)
	traced, tracingErr := tracingWanted(environ)
	if err := badConfiguration(err, tracingErr); err != nil {
		return err
	}
	if err := badConfiguration(s.watermill.check(cmd.Flags()), s.watermill.alone(s.more)); err != nil {
		return err
	}
	logger := s.log.logger(cmd.ErrOrStderr())
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	databases, err := outboxes.openForwarding(registry, shared.DatabaseURL)
	if err != nil {
		return err
	}
	defer databases.close()
	var spans *tracing
	if traced {
		if spans, err = startTracing(cmd.Context(), serviceName(shared), logger); err != nil {
			return err
		}
		deadline := deadlineOf(cmd.Context(), s.drain)
		defer func() { spans.stop(deadline(), logger) }()
	}
	engine, err := s.build(shared, outboxes, databases, logger, registry, spans.tracer())
	if err != nil {
		return badConfiguration(err)
	}
	// After Run: what sends must not be closed before.
	defer func() { err = errors.Join(err, engine.close()) }()
	monitor, err := listen(s.address)
	if err != nil {
		return err
	}
	defer monitor.close()
	monitor.serve(readiness(cmd.Context(), engine), registry, logger)
	if s.watermill.topic != "" {
		logger.Info("forwarding", "table", "Watermill's of "+s.watermill.topic, "database", shared.DatabaseURL, "kafka", cluster(shared), "tracing", traced, "version", version())
	} else {
		logger.Info("forwarding", "outboxes", outboxes, "kafka", cluster(shared), "engine", s.engine, "group", s.group, "tracing", traced, "version", version())
	}
	if err := engine.Run(cmd.Context()); err != nil {
		return explain(err, outboxes[0].table)
	}
	logger.Info("stopped", "pid", os.Getpid())
	return nil
}

// readiness is the engine's, until the process is told to stop.
func readiness(ctx context.Context, engine *engine) probe {
	return func() (string, error) {
		line, err := engine.status()
		if ctx.Err() != nil {
			err = errors.New("stopping")
		}
		return line, err
	}
}

// explain adds the command that mends it. An error that names no outbox is about the table.
func explain(err error, table string) error {
	if !errors.Is(err, outbox.ErrNoTable) && !errors.Is(err, outbox.ErrNotMigrated) {
		return err
	}
	where := "the same DATABASE_URL"
	var one *forwarder.OutboxError
	if errors.As(err, &one) {
		table, where = one.Table, "the DATABASE_URL of outbox "+one.Name
	}
	return fmt.Errorf("%w\nrun this with %s, and try again:\n%s", err, where, migrateCommandFor(table))
}
