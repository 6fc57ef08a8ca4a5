package watermillsql_test

import (
	"context"
	"database/sql"
	"log"
	"os/signal"
	"syscall"

	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

// A process in the place of Watermill's forwarder. `tailrace forward --watermill-topic` is this, with
// settings.
func ExampleForwarder_Run() { //nolint:testableexamples // It needs servers.
	db, err := sql.Open("postgres", "postgres://app@localhost/app?sslmode=disable")
	if err != nil {
		log.Fatal(err)
	}
	sender, err := kafka.NewSender(kafka.SenderConfig{
		Config:      kafka.Config{Brokers: []string{"localhost:9092"}},
		Partitioner: kafka.FNV1a, // as watermill-kafka's publisher
	})
	if err != nil {
		log.Fatal(err)
	}
	f, err := watermillsql.New(watermillsql.Config{DB: db, Topic: "events_to_forward", KeyMetadata: "order_id", Sender: sender})
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
