package main

import (
	"context"
	"errors"
	"fmt"
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
	Run func(ctx context.Context) error
	// status is a text on how things are, and what stands in the way (nil: nothing).
	status func() (string, error)
	close  func() error
}

// build makes the engine that was asked for. It starts nothing.
func (s *forwardSettings) build(shared connect.Config, outboxes addresses, databases pools, logger *slog.Logger, registry prometheus.Registerer, tracer trace.TracerProvider) (*engine, error) {
	if s.watermill.topic != "" {
		return s.buildWatermill(shared, databases[outboxes[0].database], logger, registry, tracer)
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
		if len(outboxes) > 1 {
			return nil, fmt.Errorf("the watermill engine forwards one outbox, not %d: start a process for each", len(outboxes))
		}
		publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: sending})
		if err != nil {
			return nil, err
		}
		forward, err := forwarder.NewWatermillEngine(forwarder.WatermillConfig{
			DB: databases[outboxes[0].database], Table: outboxes[0].table, Publisher: publisher, DeadLetterTopic: deadLetters,
			Lease: s.lease, DrainTimeout: s.drain, Retention: s.retention, Logger: logger, Registerer: registry, Tracer: tracer,
		})
		if err != nil {
			return nil, err
		}
		return alone(forward, publisher.Close), nil
	}
	sender, err := kafka.NewSender(sending)
	if err != nil {
		return nil, err
	}
	group, err := forwarder.NewGroup(forwarder.GroupConfig{
		Group: s.group, Outboxes: outboxes.served(databases), Forwarder: forwarder.Config{
			Sender: sender, DeadLetterTopic: deadLetters,
			BatchSize: s.batch, Window: s.window, Retention: s.retention, DeleteProcessed: s.retention == 0,
			Lease: s.lease, DrainTimeout: s.drain, Logger: logger, Registerer: registry, Tracer: tracer,
		},
	})
	if err != nil {
		return nil, err
	}
	return &engine{
		Run:    group.Run,
		status: func() (string, error) { status := group.Status(); return status.String(), status.Ready() },
		close:  sender.Close,
	}, nil
}

// alone is an engine that knows no group.
func alone(r runner, closing func() error) *engine {
	return &engine{
		Run:    func(ctx context.Context) error { return runAlone(ctx, r) },
		status: func() (string, error) { status := r.Status(); return status.String(), status.Ready() },
		close:  closing,
	}
}

type runner interface {
	Run(ctx context.Context) error
	Status() forwarder.Status
}

// runAlone is Run, where a process that stood by when it was told to stop has stopped cleanly: it had nothing
// to finish, and all that failed is a question to the database that was cut short.
func runAlone(ctx context.Context, r runner) error {
	idle := make(chan bool, 1)
	context.AfterFunc(ctx, func() { idle <- r.Status().State != forwarder.Owner })
	err := r.Run(ctx)
	if err != nil && ctx.Err() != nil && <-idle {
		return nil
	}
	return err
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
