// Package stack starts what the examples need, a PostgreSQL and a Kafka, unless the environment names
// them. In production both are there already.
package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/caarlos0/env/v11"

	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
	"github.com/tailrace-go/tailrace/internal/embedded/postgres"
)

// Servers are the servers that were started.
type Servers struct {
	environ  map[string]string
	postgres *postgres.Server
	kafka    *kafka.Cluster
}

// Start starts a PostgreSQL if DATABASE_URL is not set, and a Kafka if KAFKA_BROKERS is not.
func Start(ctx context.Context) (*Servers, error) {
	s := &Servers{environ: env.ToMap(os.Environ())}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("stack: %w", err), s.Close())
	}
	return s, nil
}

func (s *Servers) start(ctx context.Context) (err error) {
	if s.environ["DATABASE_URL"] == "" {
		if s.postgres, err = postgres.Start(ctx, postgres.Config{}); err != nil {
			return err
		}
		s.environ["DATABASE_URL"] = s.postgres.DSN("")
	}
	if s.environ["KAFKA_BROKERS"] == "" {
		if s.kafka, err = kafka.Start(kafka.Config{}); err != nil {
			return err
		}
		s.environ["KAFKA_BROKERS"] = s.kafka.Brokers()[0]
	}
	return nil
}

// Environment is the process's environment, with DATABASE_URL and KAFKA_BROKERS as a deployment sets them.
func (s *Servers) Environment() map[string]string { return maps.Clone(s.environ) }

// Close stops what was started.
func (s *Servers) Close() error {
	if s.kafka != nil {
		s.kafka.Stop()
	}
	if s.postgres != nil {
		return s.postgres.Stop()
	}
	return nil
}
