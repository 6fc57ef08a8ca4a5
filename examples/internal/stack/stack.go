// Package stack starts what the examples need, a PostgreSQL and a Kafka, unless the environment names
// them. In production both are there already.
package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
	"github.com/tailrace-go/tailrace/internal/embedded/postgres"
)

// Servers are the servers that were started, and the database that was made.
type Servers struct {
	environ  map[string]string
	postgres *postgres.Server
	database string
	kafka    *kafka.Cluster
}

// Start starts a PostgreSQL, or makes a database on that of DATABASE_URL, and a Kafka, unless
// KAFKA_BROKERS names one: there, the topics get a prefix of this run's own.
func Start(ctx context.Context) (*Servers, error) {
	return start(ctx, (*Servers).startPostgres, (*Servers).startKafka)
}

// StartKafka is [Start] for an example that needs no database.
func StartKafka(ctx context.Context) (*Servers, error) { return start(ctx, (*Servers).startKafka) }

func start(ctx context.Context, steps ...func(*Servers, context.Context) error) (*Servers, error) {
	s := &Servers{environ: env.ToMap(os.Environ())}
	for _, step := range steps {
		if err := step(s, ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("stack: %w", err), s.Close())
		}
	}
	return s, nil
}

func (s *Servers) startPostgres(ctx context.Context) (err error) {
	if s.postgres, err = postgres.Start(ctx, postgres.Config{URL: s.environ["DATABASE_URL"]}); err != nil {
		return err
	}
	if s.database, err = s.postgres.CreateDatabase(ctx, "tailrace_example"); err != nil {
		return err
	}
	s.environ["DATABASE_URL"] = s.postgres.DSN(s.database)
	return nil
}

func (s *Servers) startKafka(context.Context) (err error) {
	if s.environ["KAFKA_BROKERS"] != "" {
		s.environ["EVENT_TOPIC_PREFIX"] = "example-" + strings.ToLower(rand.Text()[:8])
		return nil
	}
	if s.kafka, err = kafka.Start(kafka.Config{}); err != nil {
		return err
	}
	s.environ["KAFKA_BROKERS"] = s.kafka.Brokers()[0]
	return nil
}

// Environment is the process's environment, with DATABASE_URL and KAFKA_BROKERS as a deployment sets them.
func (s *Servers) Environment() map[string]string { return maps.Clone(s.environ) }

// Close stops what was started, and drops the database that was made on a server that stays.
func (s *Servers) Close() error {
	if s.kafka != nil {
		s.kafka.Stop()
	}
	if s.postgres == nil {
		return nil
	}
	var dropped error
	if s.database != "" && s.postgres.External() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		dropped = s.postgres.DropDatabase(ctx, s.database)
	}
	return errors.Join(dropped, s.postgres.Stop())
}
