package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder"
)

const serviceName = "user-service"

// app is the application, as it was and as it becomes.
type app struct {
	settings connect.Config
	names    names
	db       *sql.DB

	publisher *kafka.Publisher // what it published with before

	connection *connect.Connection
	bus        *bus.Bus
	sender     *kafka.Sender
	forward    *forwarder.Forwarder

	created ledger // what step a has committed
}

// names are the topics, complete with their prefix: one a step.
type names struct{ created, renamed, issued, orders string }

func open(ctx context.Context, settings connect.Config) (a *app, err error) {
	settings.ServiceName = serviceName
	a = &app{settings: settings}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	naming := settings.Topics()
	var faults [4]error
	a.names.created, faults[0] = naming.Domain(serviceName, "user", "user_created")
	a.names.renamed, faults[1] = userRenamed.Topic(naming, serviceName)
	a.names.issued, faults[2] = naming.Custom("cmc.created")
	a.names.orders, faults[3] = naming.Custom("orders")
	if err := errors.Join(faults[:]...); err != nil {
		return a, err
	}
	if a.connection, err = connect.Open(ctx, settings); err != nil {
		return a, err
	}
	a.db, a.bus = a.connection.DB, a.connection.Bus
	return a, a.openKafka(ctx)
}

func (a *app) openKafka(ctx context.Context) (err error) {
	cluster := a.settings.Kafka()
	shape := kafka.TopicShape{Partitions: 3, ReplicationFactor: 1}
	err = kafka.CreateTopics(ctx, cluster, kafka.Topic{Name: a.names.created, TopicShape: shape}, kafka.Topic{Name: a.names.renamed, TopicShape: shape},
		kafka.Topic{Name: a.names.issued, TopicShape: shape}, kafka.Topic{Name: a.names.orders, TopicShape: shape})
	if err != nil {
		return err
	}
	sending := kafka.SenderConfig{Config: cluster}
	if a.publisher, err = kafka.NewPublisher(kafka.PublisherConfig{Sender: sending}); err != nil {
		return err
	}
	if a.sender, err = kafka.NewSender(sending); err != nil {
		return err
	}
	deadLetters, err := a.settings.Topics().DeadLetter()
	if err != nil {
		return err
	}
	a.forward, err = forwarder.New(forwarder.Config{DB: a.db, Sender: a.sender, DeadLetterTopic: deadLetters})
	return err
}

func (a *app) close() error {
	var faults []error
	if a.publisher != nil {
		faults = append(faults, a.publisher.Close())
	}
	if a.sender != nil {
		faults = append(faults, a.sender.Close())
	}
	if a.connection != nil {
		faults = append(faults, a.connection.Close())
	}
	return errors.Join(faults...)
}

// transact runs a transaction; one that is to fail is rolled back at its end.
func (a *app) transact(ctx context.Context, fail bool, do func(*sql.Tx) error) error {
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := do(tx); err != nil || fail {
		return err
	}
	return tx.Commit()
}

// settled waits until the outbox has nothing left to send.
func (a *app) settled(ctx context.Context) error {
	return a.eventually(ctx, "the outbox is sent", `SELECT NOT EXISTS (SELECT FROM event_outbox WHERE processed_at IS NULL)`)
}

// eventually waits until a query answers true.
func (a *app) eventually(ctx context.Context, what, query string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("not within 30s"))
	defer cancel()
	for tick := time.Tick(20 * time.Millisecond); ; {
		var yes bool
		if err := a.db.QueryRowContext(ctx, query).Scan(&yes); yes || err != nil {
			return err
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, context.Cause(ctx))
		}
	}
}
