package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder"
)

type engineName string

const (
	pipelineEngine  engineName = "pipeline"
	watermillEngine engineName = "watermill"
)

// engine is what forwards, and what it sends with.
type engine struct {
	runner
	close func() error
}

type runner interface {
	Run(ctx context.Context) error
	Status() forwarder.Status
}

// build makes the engine that was asked for. It starts nothing.
func (s *forwardSettings) build(shared connect.Config, db *sql.DB, logger *slog.Logger, registry prometheus.Registerer, tracer trace.TracerProvider) (*engine, error) {
	if s.watermill.topic != "" {
		return s.buildWatermill(shared, db, logger, registry, tracer)
	}
	deadLetters, err := shared.Topics().DeadLetter()
	if err != nil {
		return nil, err
	}
	sending := s.sender(shared, logger)
	if s.engine == watermillEngine {
		if s.retention == 0 {
			return nil, errors.New("--retention is 0: the watermill engine cannot delete at once; give it a duration")
		}
		publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: sending})
		if err != nil {
			return nil, err
		}
		forward, err := forwarder.NewWatermillEngine(forwarder.WatermillConfig{
			DB: db, Table: shared.OutboxTable, Publisher: publisher, DeadLetterTopic: deadLetters,
			Lease: s.lease, DrainTimeout: s.drain, Retention: s.retention, Logger: logger, Registerer: registry, Tracer: tracer,
		})
		return &engine{forward, publisher.Close}, err
	}
	sender, err := kafka.NewSender(sending)
	if err != nil {
		return nil, err
	}
	forward, err := forwarder.New(forwarder.Config{
		DB: db, Table: shared.OutboxTable, Sender: sender, DeadLetterTopic: deadLetters,
		BatchSize: s.batch, Window: s.window, Retention: s.retention, DeleteProcessed: s.retention == 0,
		Lease: s.lease, DrainTimeout: s.drain, Logger: logger, Registerer: registry, Tracer: tracer,
	})
	return &engine{forward, sender.Close}, err
}

// serviceName is how this process is called in traces, unless OTEL_SERVICE_NAME says otherwise.
func serviceName(shared connect.Config) string {
	if shared.ServiceName == standard("SERVICE_NAME") {
		return "tailrace"
	}
	return shared.ServiceName
}

// cluster is bus/connect's, under the name of this process unless the service has one.
func cluster(shared connect.Config) kafka.Config {
	config := shared.Kafka()
	if shared.ServiceName == standard("SERVICE_NAME") {
		config.ClientID = "" // bus/kafka's own
	}
	return config
}

func (s *forwardSettings) sender(shared connect.Config, logger *slog.Logger) kafka.SenderConfig {
	config := kafka.SenderConfig{Config: cluster(shared), Compression: s.compression, Logger: logger}
	if s.create {
		//nolint:gosec // parseCount bounds them
		config.AutoCreate = &kafka.TopicShape{Partitions: int32(s.partitions), ReplicationFactor: int16(s.replication)}
		if s.replication == 0 {
			config.AutoCreate.ReplicationFactor = -1
		}
	}
	return config
}
