package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/examples/order/billing"
	"github.com/tailrace-go/tailrace/examples/order/events"
	"github.com/tailrace-go/tailrace/examples/order/orders"
	"github.com/tailrace-go/tailrace/forwarder"
)

// app is everything that runs: in production a process of orders, one of billing, and `tailrace forward`.
type app struct {
	settings   connect.Config
	metrics    *prometheus.Registry
	connection *connect.Connection
	orders     *orders.Service
	billing    billing.Service

	sender   *kafka.Sender
	letters  *kafka.Publisher
	forward  *forwarder.Forwarder
	inboxes  []*inbox.Inbox
	router   *message.Router
	listener net.Listener
	server   *http.Server
}

// with runs the app for as long as work does, and stops it.
func with(ctx context.Context, environ map[string]string, address string, work func(context.Context, *app) error) (err error) {
	a := &app{metrics: prometheus.NewRegistry()}
	defer func() { err = errors.Join(err, a.close()) }()
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return a.openDatabase(ctx, environ) },
		a.openKafka, a.makeServices, a.makeRouter,
		func(ctx context.Context) error { return a.makeServer(ctx, address) },
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return a.run(ctx, work)
}

// openDatabase opens the database and makes the tables, which in production is `tailrace migrate --inbox`
// and the services' own migrations.
func (a *app) openDatabase(ctx context.Context, environ map[string]string) (err error) {
	if a.settings, err = connect.Load(environ); err != nil {
		return err
	}
	a.settings.ServiceName, a.settings.Registerer = events.Orders, a.metrics
	if a.connection, err = connect.Open(ctx, a.settings); err != nil {
		return err
	}
	db := a.connection.DB
	if _, err = outbox.Migrate(ctx, db, outbox.MigrateConfig{}); err != nil {
		return err
	}
	if _, err = inbox.Migrate(ctx, db, inbox.MigrateConfig{}); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, orders.Schema+billing.Schema)
	return err
}

// openKafka makes the topics, what forwards to them, and what publishes dead letters.
func (a *app) openKafka(ctx context.Context) (err error) {
	names, err := a.topics()
	if err != nil {
		return err
	}
	var topics []kafka.Topic
	for _, name := range names.all() {
		topics = append(topics, kafka.Topic{Name: name, TopicShape: kafka.TopicShape{Partitions: 3, ReplicationFactor: 1}})
	}
	cluster := a.settings.Kafka()
	if err := kafka.CreateTopics(ctx, cluster, topics...); err != nil {
		return err
	}
	if a.sender, err = kafka.NewSender(kafka.SenderConfig{Config: cluster}); err != nil {
		return err
	}
	if a.letters, err = kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: cluster}}); err != nil {
		return err
	}
	a.forward, err = forwarder.New(forwarder.Config{
		DB: a.connection.DB, Sender: a.sender, DeadLetterTopic: names.deadLetters, Registerer: a.metrics,
		SweepInterval: 200 * time.Millisecond, // the walk makes a sent row pending again, and does not want to wait 10 s
	})
	return err
}

func (a *app) makeServices(context.Context) (err error) {
	if a.orders, err = orders.New(a.connection.DB, a.connection.Bus); err != nil {
		return err
	}
	a.billing.Bus, err = bus.New(bus.Config{
		Service: events.Billing, Topics: a.settings.Topics(), DB: a.connection.DB, Metrics: a.metrics,
	})
	return err
}

// run runs all parts beside the work. When the work is done, or one of them fails, all stop.
func (a *app) run(ctx context.Context, work func(context.Context, *app) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.forward.Run(ctx) })
	group.Go(func() error { return a.router.Run(ctx) })
	for _, box := range a.inboxes {
		group.Go(func() error { return box.Run(ctx) })
	}
	group.Go(func() error { return a.serve(ctx) })
	group.Go(func() error {
		defer cancel()
		return work(ctx, a)
	})
	return group.Wait()
}

// close closes what was opened, last first.
func (a *app) close() error {
	var faults []error
	if a.letters != nil {
		faults = append(faults, a.letters.Close())
	}
	if a.sender != nil {
		faults = append(faults, a.sender.Close())
	}
	if a.connection != nil {
		faults = append(faults, a.connection.Close())
	}
	return errors.Join(faults...)
}
