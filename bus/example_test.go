package bus_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// A Bus publishes through any Watermill publisher, here one within the process.
func ExampleNew() {
	ctx := context.Background()
	channel := gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 1}, watermill.NopLogger{})
	defer func() { _ = channel.Close() }()
	received, err := channel.Subscribe(ctx, "marty.user-service.user.user_created")
	if err != nil {
		fmt.Println(err)
		return
	}

	b, err := bus.New(bus.Config{
		Service:   "user-service",
		Topics:    topics.Naming{Prefix: "marty"},
		Publisher: channel,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := b.PublishDomain(ctx, envelopes.Domain{
		AggregateType: "user", AggregateID: "user-123", EventType: "user_created",
		EventData: map[string]string{"email": "user@example.com"},
	}); err != nil {
		fmt.Println(err)
		return
	}

	msg := <-received
	msg.Ack()
	envelope, err := envelopes.Decode(msg.Payload)
	fmt.Println(envelope.EventType, msg.Metadata.Get("record_key"), err)
	// Output: user_created user-123 <nil>
}

func ExampleNew_mistakes() {
	_, err := bus.New(bus.Config{Topics: topics.Naming{Prefix: "marty:"}})
	fmt.Println(err)
	// Output:
	// bus: invalid configuration: Service is empty: name the publishing service
	// bus: invalid configuration: Topics: topics: prefix "marty:" has ':' at position 6: Kafka allows letters, digits, '.', '_' and '-'
	// bus: invalid configuration: neither DB nor Publisher is set: give DB to publish through the outbox, Publisher to publish directly
}

func ExampleBus_PublishAudit() {
	b := exampleBus()
	_, err := b.PublishAudit(context.Background(), envelopes.Audit{
		EventType: envelopes.UserLoginFailed, Action: "login", ResourceType: "user", ResourceID: "user-123",
		Failed: true, ErrorCode: "bad_credentials", RiskLevel: envelopes.RiskMedium,
	})
	fmt.Println(err)
	// Output:
	// marty.audit.events: user.login.failed, key user-123
	// <nil>
}

func ExampleBus_PublishNotification() {
	b := exampleBus()
	_, err := b.PublishNotification(context.Background(), envelopes.Notification{
		EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{"user-123"},
		Subject: "Welcome to Marty!", Message: "Your account has been created successfully.",
	})
	fmt.Println(err)
	// Output:
	// marty.notification.events: user.welcome, key user-123
	// <nil>
}

func ExampleBus_PublishCustom() {
	b := exampleBus()
	_, err := b.PublishCustom(context.Background(), envelopes.Custom{
		Topic: "integration.events", Key: "crm", EventType: "sync_requested", Payload: map[string]any{"ids": []int{1, 2, 3}},
	})
	fmt.Println(err)
	// Output:
	// marty.integration.events: sync_requested, key crm
	// <nil>
}

// Many events in one call are one statement with an outbox, and none is published when one is faulty.
func ExampleBus_PublishAll() {
	b := exampleBus()
	ctx := context.Background()
	created := envelopes.Domain{AggregateType: "user", AggregateID: "user-123", EventType: "user_created"}

	_, err := b.PublishAll(ctx, created, envelopes.Audit{EventType: envelopes.DataCreated})
	fmt.Println(errors.Is(err, envelopes.ErrInvalid))
	fmt.Println(err)

	ids, err := b.PublishAll(ctx, created,
		envelopes.Audit{EventType: envelopes.DataCreated, Action: "create_user", ResourceType: "user", ResourceID: "user-123"})
	fmt.Println(len(ids), err)
	// Output:
	// true
	// bus: event 2 of 2: envelopes: payload.action is missing
	// envelopes: payload.resource_type is missing
	// marty.user-service.user.user_created: user_created, key user-123
	// marty.audit.events: data.created, key user-123
	// 2 <nil>
}

// What a request knows is said once, where it comes in.
func ExampleWithMetadata() {
	ctx := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "req-7f3a", UserID: "admin-1"})
	ctx = bus.WithMetadata(ctx, bus.Metadata{SourceIP: "203.0.113.7"})
	fmt.Printf("%+v\n", bus.MetadataFrom(ctx).CorrelationID)

	printer := printer{fields: []string{"correlation_id"}}
	b, err := bus.New(bus.Config{Service: "user-service", Publisher: printer})
	if err != nil {
		fmt.Println(err)
	}
	_, err = b.PublishAudit(ctx, envelopes.Audit{EventType: envelopes.RoleChanged, Action: "grant", ResourceType: "user"})
	fmt.Println(err)
	// Output:
	// req-7f3a
	// audit.events: role.changed, correlation_id req-7f3a
	// <nil>
}

type OrderPlaced struct {
	Total int64 `json:"total"`
}

// An event is defined once, for those who publish it and those who handle it.
func ExampleDefine() {
	orderPlaced := bus.Define[OrderPlaced]("order", "order_placed")
	b := exampleBus()

	_, err := orderPlaced.Publish(context.Background(), b, "order-9", OrderPlaced{Total: 4200})
	fmt.Println(err)

	envelope := envelopes.Envelope{
		EventType: "order_placed",
		Payload:   []byte(`{"aggregate_type": "order", "aggregate_id": "order-9", "event_data": {"total": 4200}}`),
	}
	data, event, err := orderPlaced.Decode(envelope)
	fmt.Println(event.AggregateID, data.Total, err)
	// Output:
	// marty.user-service.order.order_placed: order_placed, key order-9
	// <nil>
	// order-9 4200 <nil>
}

func ExampleNewAuditPublisher() {
	audits, err := bus.NewAuditPublisher(bus.Config{Service: "user-service", Publisher: printer{fields: []string{"record_key"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = audits.Publish(context.Background(), envelopes.Audit{
		EventType: envelopes.DataExported, Action: "export", ResourceType: "report", ResourceID: "r-1",
	})
	fmt.Println(err)
	// Output:
	// audit.events: data.exported, key r-1
	// <nil>
}
