// Command quickstart publishes an event in a transaction, forwards it to Kafka and handles it.
package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/examples/internal/stack"
	"github.com/tailrace-go/tailrace/forwarder"
)

type user struct{ Email string }

// userCreated is defined once, for those who publish it and those who handle it.
var userCreated = bus.Define[user]("user", "user_created")

func main() {
	ctx, done := context.WithCancel(context.Background())
	servers := must(stack.Start(ctx)) // PostgreSQL and Kafka; yours are there already
	defer servers.Close()
	settings := must(connect.Load(servers.Environment())) // DATABASE_URL, KAFKA_BROKERS, …
	connection := must(connect.Open(ctx, settings))
	defer connection.Close()
	must(outbox.Migrate(ctx, connection.DB, outbox.MigrateConfig{})) // in production: tailrace migrate

	// Publish, in the transaction that changes your own tables: both happen, or neither.
	check(connection.Bus.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
		_, err := userCreated.Publish(ctx, connection.Bus, "user-1", user{Email: "ada@example.com"})
		return err
	}))

	// Forward what is pending. In production: tailrace forward.
	sending := kafka.SenderConfig{Config: settings.Kafka(), AutoCreate: &kafka.TopicShape{Partitions: 3, ReplicationFactor: 1}}
	sender := must(kafka.NewSender(sending))
	defer sender.Close()
	check(must(forwarder.New(forwarder.Config{DB: connection.DB, Sender: sender})).Drain(ctx))

	// Handle. What fails again and again goes to the dead letters.
	router := must(message.NewRouter(message.RouterConfig{}, nil))
	letters := must(kafka.NewPublisher(kafka.PublisherConfig{Sender: sending}))
	defer letters.Close()
	router.AddPlugin(consumer.Plugin(consumer.Config{DeadLetter: consumer.DeadLetterConfig{Publisher: letters, Naming: settings.Topics()}}))
	subscriber := must(kafka.NewSubscriber(kafka.SubscriberConfig{Config: settings.Kafka(), ConsumerGroup: "mailer"}, nil))
	topic := must(userCreated.Topic(settings.Topics(), settings.ServiceName))
	consumer.Add(router, "welcome", subscriber, topic, consumer.Handle(userCreated, func(_ context.Context, event consumer.Event[user]) error {
		fmt.Printf("welcome, %s (%s)\n", event.Data.Email, event.AggregateID)
		done()
		return nil
	}))
	check(router.Run(ctx))
}
