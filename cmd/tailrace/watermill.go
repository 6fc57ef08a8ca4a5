package main

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

const watermillHelp = `With --watermill-topic it forwards what Watermill's forwarder component would, from the tables of
watermill-sql, in place of the outbox: see docs/from-watermill-forwarder.md.`

// watermillSettings are those of the tables of watermill-sql.
type watermillSettings struct {
	topic, group, key string
	messages, offsets string
	partitioner       kafka.Partitioner
	attempts          int
}

func (w *watermillSettings) define(own *settings, cmd *cobra.Command) {
	w.defineTables(own, cmd)
	define(own, cmd, &w.key, setting{flag: "watermill-key-metadata", variable: "TAILRACE_WATERMILL_KEY_METADATA", kind: "field"},
		"field of the messages' metadata that is the record key; without it no record has one", parseText)
	define(own, cmd, &w.partitioner, setting{flag: "watermill-partitioner", variable: "TAILRACE_WATERMILL_PARTITIONER", kind: "name", text: string(kafka.FNV1a)},
		"how a key picks its partition: fnv1a, as watermill-kafka's publisher, or murmur2, as Java's clients", oneOf(kafka.FNV1a, kafka.Murmur2))
	define(own, cmd, &w.attempts, setting{flag: "watermill-attempts", variable: "TAILRACE_WATERMILL_ATTEMPTS", kind: "count", text: "3"},
		"how often a message is tried that Kafka refuses for its own sake, before a copy goes to the dead letters", parseCount(1, math.MaxInt32))
}

// defineTables adds what says which tables they are.
func (w *watermillSettings) defineTables(own *settings, cmd *cobra.Command) {
	define(own, cmd, &w.topic, setting{flag: "watermill-topic", variable: "TAILRACE_WATERMILL_TOPIC", kind: "name"},
		"ForwarderTopic of Watermill's forwarder: its table watermill_<topic> in place of the outbox", parseText)
	define(own, cmd, &w.group, setting{flag: "consumer-group", variable: "TAILRACE_CONSUMER_GROUP", kind: "name"},
		"ConsumerGroup of that forwarder's subscriber", parseText)
	define(own, cmd, &w.messages, setting{flag: "watermill-messages-table", variable: "TAILRACE_WATERMILL_MESSAGES_TABLE", kind: "sql"},
		`the table of messages as it stands in SQL, if not "watermill_<topic>"`, parseText)
	define(own, cmd, &w.offsets, setting{flag: "watermill-offsets-table", variable: "TAILRACE_WATERMILL_OFFSETS_TABLE", kind: "sql"},
		`the table of offsets as it stands in SQL, if not "watermill_offsets_<topic>"`, parseText)
}

// tables is the part of the configuration that says which tables they are.
func (w *watermillSettings) tables(db *sql.DB) watermillsql.Config {
	config := watermillsql.Config{DB: db, Topic: w.topic, ConsumerGroup: w.group}
	if w.messages != "" {
		config.Schema = wsql.DefaultPostgreSQLSchema{GenerateMessagesTableName: func(string) string { return w.messages }}
	}
	if w.offsets != "" {
		config.Offsets = wsql.DefaultPostgreSQLOffsetsAdapter{GenerateMessagesOffsetsTableName: func(string) string { return w.offsets }}
	}
	return config
}

// check returns an error for flags that do not go together.
func (w *watermillSettings) check(flags *pflag.FlagSet) error {
	var odd []string
	if w.topic == "" {
		for _, flag := range []string{"consumer-group", "watermill-key-metadata", "watermill-partitioner", "watermill-attempts", "watermill-messages-table", "watermill-offsets-table"} {
			if flags.Changed(flag) {
				odd = append(odd, "--"+flag)
			}
		}
		if len(odd) > 0 {
			return fmt.Errorf("%s: only with --watermill-topic", strings.Join(odd, ", "))
		}
		return nil
	}
	for _, flag := range []string{"table", "outbox", "group", "engine", "retention"} {
		if flags.Changed(flag) {
			odd = append(odd, "--"+flag)
		}
	}
	if len(odd) > 0 {
		return fmt.Errorf("%s: not with --watermill-topic, which forwards another table than the outbox and deletes nothing", strings.Join(odd, ", "))
	}
	return nil
}

// alone returns an error for outboxes that come from the environment.
func (w *watermillSettings) alone(more addresses) error {
	if w.topic == "" || len(more) == 0 {
		return nil
	}
	return errors.New("TAILRACE_OUTBOXES: not with --watermill-topic, whose tables are in the database of DATABASE_URL: leave it out")
}

// buildWatermill makes the engine over Watermill's tables. It starts nothing.
func (s *forwardSettings) buildWatermill(shared connect.Config, db *sql.DB, logger *slog.Logger, registry prometheus.Registerer, tracer trace.TracerProvider) (*engine, error) {
	w := &s.watermill
	deadLetters, err := shared.Topics().DeadLetter()
	if err != nil {
		return nil, err
	}
	sending := s.sender(shared, logger)
	sending.Partitioner = w.partitioner
	sender, err := kafka.NewSender(sending)
	if err != nil {
		return nil, err
	}
	config := w.tables(db)
	config.KeyMetadata, config.Sender, config.DeadLetterTopic, config.Attempts = w.key, sender, deadLetters, w.attempts
	config.BatchSize, config.Window, config.Lease, config.DrainTimeout = s.batch, s.window, s.lease, s.drain
	config.Logger, config.Registerer, config.Tracer = logger, registry, tracer
	forward, err := watermillsql.New(config)
	if err != nil {
		return nil, err
	}
	return alone(forward, sender.Close), nil
}
