// Package demo shows the whole way of an event on servers of its own: written in the transaction that
// caused it, forwarded to Kafka, consumed; and counts that nothing went missing on the way.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
	"github.com/tailrace-go/tailrace/topics"
)

// Config says how the demonstration runs.
type Config struct {
	// Out gets what a person reads. Required.
	Out io.Writer
	// DatabaseURL is a running PostgreSQL to make a database on. Default: a server of its own, from the
	// binaries of this machine or downloaded ones.
	DatabaseURL string
	// Users is how many register, at least 20. Default 200.
	Users int
	// Patience bounds the wait for the last event. Default 30 s.
	Patience time.Duration
	// Logger gets what the parts log. Default: none.
	Logger *slog.Logger
}

// deadLetters is how many are meant: the poison user's.
const deadLetters = 1

// Run runs the demonstration. The error names each count that is wrong, or what failed. It stops what it
// started, also when ctx ends.
func Run(ctx context.Context, config Config) error {
	d, err := prepare(config)
	if err != nil {
		return err
	}
	return d.run(ctx)
}

type demonstration struct {
	Config

	print   printer
	naming  topics.Naming
	names   names
	ledger  *Ledger
	servers servers
	counts  []Count
}

func prepare(config Config) (_ *demonstration, err error) {
	config.Users = max(cmp.Or(config.Users, 200), 20)
	config.Patience = cmp.Or(config.Patience, 30*time.Second)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	d := &demonstration{Config: config, print: printer{config.Out}, naming: topics.Naming{Prefix: "marty"}}
	d.names, err = nameTopics(d.naming)
	d.ledger = NewLedger(d.names.audit, d.names.notification, d.names.created, d.names.changed)
	return d, err
}

func (d *demonstration) run(ctx context.Context) error {
	err := d.start(ctx)
	if err == nil {
		err = d.show(ctx)
	}
	began := time.Now()
	stopped := d.servers.stop()
	if stopped == nil {
		d.print.stepf(began, "everything that was started is stopped")
	}
	if len(d.counts) > 0 {
		d.print.table(d.counts)
		d.print.latency(d.ledger.Latency(0.50), d.ledger.Latency(0.99))
	}
	return errors.Join(err, stopped)
}

// start starts the servers and makes the tables.
func (d *demonstration) start(ctx context.Context) error {
	_, _ = fmt.Fprintln(d.Out, "\n  A user service publishes in its transactions; Tailrace carries it to Kafka; a router consumes.")
	_, _ = fmt.Fprintln(d.Out)
	began := time.Now()
	if err := d.servers.startPostgres(ctx, d.DatabaseURL); err != nil {
		return err
	}
	where := "started"
	if d.servers.postgres.External() {
		where = "of DATABASE_URL, in a database of its own"
	}
	d.print.stepf(began, "PostgreSQL %s %s", d.servers.postgres.Version(), where)

	began = time.Now()
	if err := d.servers.startKafka(); err != nil {
		return err
	}
	shape := kafka.TopicShape{Partitions: 3, ReplicationFactor: 1}
	err := kafka.CreateTopics(ctx, d.cluster(), kafka.Topic{Name: d.names.audit, TopicShape: shape}, kafka.Topic{Name: d.names.notification, TopicShape: shape},
		kafka.Topic{Name: d.names.created, TopicShape: shape}, kafka.Topic{Name: d.names.changed, TopicShape: shape}, kafka.Topic{Name: d.names.deadLetters, TopicShape: shape})
	if err != nil {
		return err
	}
	d.print.stepf(began, "Kafka started inside this process, with 5 topics")

	began = time.Now()
	report, err := outbox.Migrate(ctx, d.servers.db, outbox.MigrateConfig{Logger: d.Logger})
	if err != nil {
		return err
	}
	if _, err := d.servers.db.ExecContext(ctx, `CREATE TABLE users (id text PRIMARY KEY, email text NOT NULL)`); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d.print.stepf(began, "tables users and event_outbox (version %d) created", report.To)
	return nil
}

func (d *demonstration) cluster() kafka.Config {
	return kafka.Config{Brokers: d.servers.kafka.Brokers()}
}

// show runs service, forwarder and consumers together until every event has come to its end, and counts.
func (d *demonstration) show(ctx context.Context) (err error) {
	began := time.Now()
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: d.cluster(), Logger: d.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sender.Close()) }()
	forward, err := forwarder.New(forwarder.Config{
		DB: d.servers.db, Sender: timed{sender, d.ledger}, DeadLetterTopic: d.names.deadLetters, Logger: d.Logger,
	})
	if err != nil {
		return err
	}
	letters, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: d.cluster(), Logger: d.Logger}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, letters.Close()) }()
	consumers := &consumers{config: d.cluster(), naming: d.naming, names: d.names, ledger: d.ledger, logger: d.Logger}
	router, err := consumers.router(letters)
	if err != nil {
		return err
	}
	users, err := bus.New(bus.Config{Service: serviceName, Topics: d.naming, DB: d.servers.db, OnCommit: forward.Wake, Logger: d.Logger})
	if err != nil {
		return err
	}
	service := &service{db: d.servers.db, bus: users, names: d.names, ledger: d.ledger}

	forwarding, consuming := runInBackground(ctx, forward.Run), runInBackground(ctx, router.Run)
	// In this order: what is forwarded while the router stops would not be consumed.
	defer func() { err = errors.Join(err, forwarding.stop(), consuming.stop()) }()
	if err := await(ctx, d.Patience, func() bool { return forward.Status().State == forwarder.Owner }, forwarding, consuming); err != nil {
		return fmt.Errorf("demo: wait for the forwarder: %w", err)
	}
	d.print.stepf(began, "forwarder and router run: 5 handlers behind the consumer's chain")

	began = time.Now()
	refused, err := service.work(ctx, d.Users)
	if err != nil {
		return err
	}
	d.print.stepf(began, "%d users registered, %d refused: rolled back, so their events never were", d.Users, refused)

	began = time.Now()
	if err := await(ctx, d.Patience, d.ledger.Done, forwarding, consuming); err != nil {
		d.counts = d.ledger.Counts()
		return fmt.Errorf("demo: wait for the last event: %w", err)
	}
	attempts, reason := consumers.told()
	d.print.stepf(began, "every event handled; the welcome of %s took %d attempts", flakyUser, attempts)
	d.print.stepf(began, "%s is a dead letter: %s", poisonUser, reason)
	return d.count(ctx, attempts)
}

// count compares what was published with what Kafka has and what was consumed.
func (d *demonstration) count(ctx context.Context, attempts int) error {
	if err := readBack(ctx, d.servers.kafka, d.ledger, d.names.audit, d.names.notification, d.names.created, d.names.changed); err != nil {
		return err
	}
	d.counts = d.ledger.Counts()
	var wrong []error
	if attempts != 3 {
		wrong = append(wrong, fmt.Errorf("the welcome of %s took %d attempts, where 3 were meant", flakyUser, attempts))
	}
	var users int
	if err := d.servers.db.QueryRowContext(ctx, `SELECT count(*) FROM users`).Scan(&users); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if users != d.Users {
		wrong = append(wrong, fmt.Errorf("%d users are in the database, where %d were registered", users, d.Users))
	}
	if err := errors.Join(append(wrong, Check(d.counts, deadLetters))...); err != nil {
		return fmt.Errorf("demo: the counts are wrong: %w", err)
	}
	return nil
}
