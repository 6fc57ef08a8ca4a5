package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"

	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
	"github.com/tailrace-go/tailrace/internal/embedded/postgres"
)

// servers are a PostgreSQL, with a database of the demonstration's own, and a Kafka.
type servers struct {
	postgres *postgres.Server
	database string
	db       *sql.DB
	kafka    *kafka.Cluster
}

// startPostgres starts a server, or makes a database on the one at url.
func (s *servers) startPostgres(ctx context.Context, url string) (err error) {
	if s.postgres, err = postgres.Start(ctx, postgres.Config{URL: url}); err != nil {
		return err
	}
	if s.database, err = s.postgres.CreateDatabase(ctx, "tailrace_demo"); err != nil {
		return err
	}
	if s.db, err = sql.Open("postgres", s.postgres.DSN(s.database)); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	s.db.SetMaxIdleConns(20)
	return nil
}

func (s *servers) startKafka() (err error) {
	s.kafka, err = kafka.Start(kafka.Config{})
	return err
}

// stop stops what was started, and leaves a server that was there before as it was.
func (s *servers) stop() error {
	var faults []error
	if s.kafka != nil {
		s.kafka.Stop()
	}
	if s.db != nil {
		faults = append(faults, s.db.Close())
	}
	if s.database != "" && s.postgres.External() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		faults = append(faults, s.postgres.DropDatabase(ctx, s.database))
	}
	if s.postgres != nil {
		faults = append(faults, s.postgres.Stop())
	}
	return errors.Join(faults...)
}
