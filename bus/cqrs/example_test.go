package cqrs_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/cqrs"
	"github.com/tailrace-go/tailrace/topics"
)

// OrderPlaced is an event of an application that is built on Watermill's cqrs.
type OrderPlaced struct {
	Order string `json:"order"`
	Total int64  `json:"total"`
}

// An EventBus and an EventProcessor with our envelopes, topics and correlation.
func Example() {
	channel := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{}) // stands for Kafka
	b, err := bus.New(bus.Config{Service: "shop", Topics: topics.Naming{Prefix: "marty"}, Publisher: channel})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := cqrs.NewRegistry()
	cqrs.Register(registry, bus.Define[OrderPlaced]("order", "order_placed"), func(e OrderPlaced) string { return e.Order })
	marshaler, err := cqrs.New(cqrs.Config{Bus: b, Registry: registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	events, _ := marshaler.EventBus()
	ctx := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "req-7f3a"})
	fmt.Println(events.Publish(ctx, OrderPlaced{Order: "order-9", Total: 4200}))

	router := message.NewDefaultRouter(watermill.NopLogger{})
	processor, _ := wmcqrs.NewEventProcessorWithConfig(router, marshaler.EventProcessorConfig(
		func(wmcqrs.EventProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return channel, nil
		},
	))
	done := make(chan struct{})
	_ = processor.AddHandlers(wmcqrs.NewEventHandler("bill", func(ctx context.Context, placed *OrderPlaced) error {
		event, _ := cqrs.EventFrom(ctx)
		fmt.Println(event.EventType, event.AggregateID, placed.Total, bus.MetadataFrom(ctx).CorrelationID)
		close(done)
		return nil
	}))
	go func() { _ = router.Run(context.Background()) }()
	<-done
	_ = router.Close()
	// Output:
	// <nil>
	// order_placed order-9 4200 req-7f3a
}

// Invoice says itself which event it is.
type Invoice struct {
	Number string `json:"number"`
	Cents  int64  `json:"cents"`
}

func (Invoice) AggregateType() string { return "invoice" }
func (i Invoice) AggregateID() string { return i.Number }
func (Invoice) EventType() string     { return "invoice_issued" }

// A type that is an Event needs no registration.
func ExampleEvent() {
	channel := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
	b, _ := bus.New(bus.Config{Service: "billing", Publisher: channel})
	marshaler, _ := cqrs.New(cqrs.Config{Bus: b})
	msg, err := marshaler.Marshal(Invoice{Number: "2026-7", Cents: 100})
	fmt.Println(marshaler.NameFromMessage(msg), msg.Metadata.Get("record_key"), err)

	_, err = marshaler.Marshal(struct{}{})
	fmt.Println(err)
	// Output:
	// invoice/invoice_issued 2026-7 <nil>
	// cqrs: the type is not registered: struct {}: cqrs.Register(registry, bus.Define[struct {}](aggregate, eventType), aggregateID) before cqrs.New, or give it the methods of cqrs.Event
}

// Several types on one topic, in the order in which they happened, for an event group.
func ExampleOnTopic() {
	registry := cqrs.NewRegistry()
	cqrs.Register(registry, userRenamed, func(e Rename) string { return e.User }, cqrs.OnTopic("users"))
	cqrs.Register(registry, userRemoved, func(e Removal) string { return e.User }, cqrs.OnTopic("users"))
	marshaler, _ := cqrs.New(cqrs.Config{Topics: topics.Naming{Prefix: "marty"}, Registry: registry})

	topic, err := marshaler.SubscribeGroupTopic(wmcqrs.EventGroupProcessorGenerateSubscribeTopicParams{
		EventGroupHandlers: []wmcqrs.GroupEventHandler{
			wmcqrs.NewGroupEventHandler(func(context.Context, *Rename) error { return nil }),
			wmcqrs.NewGroupEventHandler(func(context.Context, *Removal) error { return nil }),
		},
	})
	fmt.Println(topic, err)
	// Output: marty.users <nil>
}
