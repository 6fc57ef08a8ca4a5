package forwarder_test

import (
	"context"
	"database/sql"
	"log"
	"os/signal"
	"syscall"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder"
)

// A process that forwards until it is told to stop. `tailrace forward` is this, with settings.
func ExampleForwarder_Run() { //nolint:testableexamples // It needs servers.
	db, err := sql.Open("postgres", "postgres://app@localhost/app?sslmode=disable")
	if err != nil {
		log.Fatal(err)
	}
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: []string{"localhost:9092"}}})
	if err != nil {
		log.Fatal(err)
	}
	f, err := forwarder.New(forwarder.Config{DB: db, Sender: sender})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err = f.Run(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// Any Watermill publisher can be the destination.
func ExampleNewPublisherSender() {
	channel := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
	sender := forwarder.NewPublisherSender(channel, forwarder.PublisherSenderConfig{})
	_, err := forwarder.New(forwarder.Config{DB: new(sql.DB), Sender: sender})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
}
