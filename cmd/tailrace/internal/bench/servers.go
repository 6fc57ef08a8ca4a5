package bench

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	"github.com/tailrace-go/tailrace/bus/kafka"
	embedded "github.com/tailrace-go/tailrace/internal/embedded/kafka"
	"github.com/tailrace-go/tailrace/internal/embedded/postgres"
)

// servers are a PostgreSQL and the Kafka clusters, started when they are first needed.
type servers struct {
	config   Config
	run      string // in the name of everything that is made
	postgres *postgres.Server
	admin    *sql.DB
	brokers  map[time.Duration]*embedded.Process // by their latency

	mu    sync.Mutex
	made  int
	rooms map[string]*room
}

func newServers(config Config) *servers {
	return &servers{
		config: config, run: strings.ToLower(rand.Text()[:8]),
		brokers: map[time.Duration]*embedded.Process{}, rooms: map[string]*room{},
	}
}

// start starts the database, or reaches the user's.
func (s *servers) start(ctx context.Context) (err error) {
	if s.postgres, err = postgres.Start(ctx, postgres.Config{URL: s.config.DatabaseURL}); err != nil {
		return fmt.Errorf("%w", err)
	}
	s.admin, err = s.open("tailrace_bench", "")
	return err
}

// open opens a pool whose connections have the name and look into the schema first, "" for where they look
// anyway.
func (s *servers) open(name, schema string) (*sql.DB, error) {
	unusable := errors.New("DATABASE_URL: lib/pq cannot use it: check its sslmode, certificates and hosts")
	config, err := pq.NewConfig(s.postgres.DSN(""))
	if err != nil {
		return nil, unusable // The error may repeat a password.
	}
	config.ApplicationName = name
	if schema != "" {
		config.Runtime = maps.Clone(config.Runtime)
		if config.Runtime == nil {
			config.Runtime = map[string]string{}
		}
		config.Runtime["search_path"] = schema
	}
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, unusable
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(writers + 8)
	return db, nil
}

// cluster is the Kafka whose answers to produce requests take at least the latency.
func (s *servers) cluster(ctx context.Context, latency time.Duration) (kafka.Config, error) {
	if s.config.Kafka != nil {
		return *s.config.Kafka, nil
	}
	broker := s.brokers[latency]
	if broker == nil {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		var err error
		if broker, err = embedded.StartProcess(ctx, embedded.ProcessConfig{ProduceLatency: latency}); err != nil {
			return kafka.Config{}, fmt.Errorf("%w", err)
		}
		s.brokers[latency] = broker
	}
	return kafka.Config{Brokers: broker.Brokers()}, nil
}

// stop removes what is left of what was made, and stops what was started.
func (s *servers) stop() error {
	var faults []error
	s.mu.Lock()
	left := slices.Collect(maps.Values(s.rooms))
	s.mu.Unlock()
	for _, r := range left {
		faults = append(faults, r.close())
	}
	for _, broker := range s.brokers {
		broker.Stop()
	}
	if s.admin != nil {
		faults = append(faults, s.admin.Close())
	}
	if s.postgres != nil {
		faults = append(faults, s.postgres.Stop())
	}
	return errors.Join(faults...)
}
