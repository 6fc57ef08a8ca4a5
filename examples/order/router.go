package main

import (
	"context"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/examples/order/events"
)

// makeRouter adds both services' handlers: inside the chain of retries and dead letters, each event once.
func (a *app) makeRouter(context.Context) (err error) {
	names, err := a.topics()
	if err != nil {
		return err
	}
	if a.router, err = message.NewRouter(message.RouterConfig{}, watermill.NopLogger{}); err != nil {
		return err
	}
	a.router.AddPlugin(consumer.Plugin(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: a.letters, Naming: a.settings.Topics()},
		Metrics:    a.metrics,
	}))
	if err := a.handle(events.Billing, names.placed, a.billing.Bus, consumer.Handle(events.OrderPlaced, a.billing.Bill)); err != nil {
		return err
	}
	return a.handle(events.Orders, names.billed, a.connection.Bus, consumer.Handle(events.OrderBilled, a.orders.Confirm))
}

// handle adds a service's handler, in a consumer group and with an inbox of the service's name.
func (a *app) handle(service, topic string, b *bus.Bus, handler message.NoPublishHandlerFunc) error {
	box, err := inbox.New(inbox.Config{Bus: b, Metrics: a.metrics})
	if err != nil {
		return err
	}
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{Config: a.settings.Kafka(), ConsumerGroup: service}, nil)
	if err != nil {
		return err
	}
	a.inboxes = append(a.inboxes, box)
	box.Add(a.router, service, subscriber, topic, handler)
	return nil
}

// deadLetters is the metric of what billing could not handle.
func (a *app) deadLetters() string {
	names, _ := a.topics()
	return `tailrace_consumer_messages_total{handler="billing",outcome="dead_letter",topic="` + names.placed + `"}`
}
