package connect

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/lib/pq"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// Connection is a Bus and what was opened for it.
type Connection struct {
	Bus *bus.Bus
	// DB is the database of the outbox, nil without one. The service may use it for its own tables: an
	// event joins the transactions of this database only.
	DB *sql.DB

	close     func() error
	committed atomic.Pointer[func()]
}

// FromEnv is [Load] of the process's environment, then [Open]. The error lists the mistakes of both.
func FromEnv(ctx context.Context) (*Connection, error) {
	config, err := Load(env.ToMap(os.Environ()))
	if err != nil {
		return nil, errors.Join(err, config.Validate())
	}
	return Open(ctx, config)
}

// Open checks the settings, opens the database or the Kafka publisher and makes the Bus. With an outbox it
// asks the database for a connection, so that a wrong password is found now; Kafka is connected to when
// the first event is published. The caller closes the Connection.
func Open(ctx context.Context, config Config) (*Connection, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	logger := cmp.Or(config.Logger, slog.Default())
	common := bus.Config{
		Service: config.ServiceName, Version: config.ServiceVersion, Topics: config.Topics(),
		Tracer: config.Tracer, NoTracing: !config.Tracing, Metrics: config.registerer(), Logger: logger,
	}
	if config.Outboxed() {
		return openOutbox(ctx, config, common)
	}
	if names := config.unused(); len(names) > 0 {
		logger.WarnContext(ctx, "settings that KAFKA_SECURITY_PROTOCOL has no use for are ignored",
			"security_protocol", cmp.Or(config.KafkaSecurityProtocol, kafka.Plaintext), "variables", names)
	}
	if config.UseOutbox == nil {
		logger.InfoContext(ctx, "publishing directly to Kafka, outside any transaction: neither USE_OUTBOX_PATTERN nor DATABASE_URL is set",
			"brokers", config.KafkaBrokers, "service", config.ServiceName)
	}
	return openDirect(config, common, logger)
}

func openOutbox(ctx context.Context, config Config, common bus.Config) (*Connection, error) {
	db, closing := config.DB, func() error { return nil }
	if db == nil {
		opened, err := openDatabase(ctx, config)
		if err != nil {
			return nil, err
		}
		db, closing = opened, opened.Close
	}
	connection := &Connection{DB: db, close: sync.OnceValue(closing)}
	common.DB, common.Table, common.Shards, common.Prepare = db, config.OutboxTable, config.OutboxShards, config.OutboxPrepare
	common.OnCommit = func() {
		for _, fn := range []*func(){&config.OnCommit, connection.committed.Load()} {
			if fn != nil && *fn != nil {
				(*fn)()
			}
		}
	}
	b, err := bus.New(common)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), closing())
	}
	connection.Bus = b
	return connection, nil
}

// OnCommit has fn called as [Config.OnCommit] is, and after it, from now on; nil ends that. It is for what needs
// the Connection to be made, such as a forwarder in this process: connection.OnCommit(forwarder.Wake).
func (c *Connection) OnCommit(fn func()) { c.committed.Store(&fn) }

func openDatabase(ctx context.Context, config Config) (*sql.DB, error) {
	settings, err := config.DatabaseURL.config()
	if err != nil {
		return nil, fault("DATABASE_URL", "%w", err)
	}
	settings.ApplicationName = cmp.Or(settings.ApplicationName, config.ServiceName)
	settings.ConnectTimeout = cmp.Or(settings.ConnectTimeout, 10*time.Second)
	connector, err := pq.NewConnectorConfig(settings)
	if err != nil {
		return nil, fault("DATABASE_URL", "lib/pq cannot use it: check its sslmode, certificates and hosts")
	}
	db := sql.OpenDB(connector)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect: DATABASE_URL: connect to %s: %w", config.DatabaseURL, err), db.Close())
	}
	return db, nil
}

func openDirect(config Config, common bus.Config, logger *slog.Logger) (*Connection, error) {
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: config.Kafka(), Logger: logger}})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	common.Publisher = publisher
	b, err := bus.New(common)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), publisher.Close())
	}
	return &Connection{Bus: b, close: sync.OnceValue(publisher.Close)}, nil
}

// Close closes what [Open] opened, once; later calls return the same. A DB that was given stays open.
func (c *Connection) Close() error { return c.close() }
