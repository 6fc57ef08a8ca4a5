package main

import (
	"log/slog"
	"math"

	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/kafka"
)

// kafkaSettings say where the events go, and how.
type kafkaSettings struct {
	config      kafka.Config
	password    string
	compression kafka.Compression
	create      bool
	partitions  int
	replication int
}

func (k *kafkaSettings) define(s *settings, cmd *cobra.Command) {
	define(s, cmd, &k.config.Brokers, setting{flag: "kafka-brokers", variable: "KAFKA_BROKERS", kind: "host:port,…", text: "localhost:9092"},
		"brokers to start from, comma-separated; the others are learnt from them", kafka.ParseBrokers)
	define(s, cmd, &k.config.SecurityProtocol, setting{flag: "kafka-security-protocol", variable: "KAFKA_SECURITY_PROTOCOL", kind: "protocol", text: "PLAINTEXT"},
		"PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", oneOf(kafka.Plaintext, kafka.SSL, kafka.SASLPlaintext, kafka.SASLSSL))
	define(s, cmd, &k.config.SASL.Mechanism, setting{flag: "kafka-sasl-mechanism", variable: "KAFKA_SASL_MECHANISM", kind: "mechanism"},
		"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", orNone(oneOf(kafka.Plain, kafka.ScramSHA256, kafka.ScramSHA512)))
	define(s, cmd, &k.config.SASL.Username, setting{flag: "kafka-sasl-username", variable: "KAFKA_SASL_USERNAME", kind: "name"},
		"user to authenticate as; the password comes from KAFKA_SASL_PASSWORD only, since other users of the machine can see flags", parseText)
	define(s, cmd, &k.compression, setting{flag: "compression", variable: "TAILRACE_COMPRESSION", kind: "codec", text: "none"},
		"compression of batches: none, gzip, snappy, lz4 or zstd",
		oneOf(kafka.NoCompression, kafka.Gzip, kafka.Snappy, kafka.LZ4, kafka.Zstd))
	define(s, cmd, &k.create, setting{flag: "create-topics", variable: "TAILRACE_CREATE_TOPICS", kind: "bool", text: "false"},
		"create topics that are missing; without it their events wait until somebody does", parseBool)
	define(s, cmd, &k.partitions, setting{flag: "topic-partitions", variable: "TAILRACE_TOPIC_PARTITIONS", kind: "count", text: "6"},
		"partitions of topics made by --create-topics; keys move when a topic grows, so start with enough", parseCount(1, 10_000))
	define(s, cmd, &k.replication, setting{flag: "topic-replication", variable: "TAILRACE_TOPIC_REPLICATION", kind: "count", text: "-1"},
		"replicas of topics made by --create-topics, -1 for the broker's default", parseCount(-1, math.MaxInt16))
}

func orNone[T ~string](parse func(string) (T, error)) func(string) (T, error) {
	return func(text string) (T, error) {
		if text == "" {
			return "", nil
		}
		return parse(text)
	}
}

// sender checks everything about Kafka and returns the sender, which starts nothing yet.
func (k *kafkaSettings) sender(password string, logger *slog.Logger) (*kafka.Sender, error) {
	config := kafka.SenderConfig{Config: k.config, Compression: k.compression, Logger: logger}
	config.Config.SASL.Password = kafka.Secret(password)
	if k.create {
		config.AutoCreate = &kafka.TopicShape{Partitions: int32(k.partitions), ReplicationFactor: int16(k.replication)}
	}
	return kafka.NewSender(config)
}
