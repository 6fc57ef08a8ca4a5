package main

import (
	"context"

	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/cqrs"
	"github.com/tailrace-go/tailrace/envelopes"
)

// add adds the handlers. Each has a consumer group of its own, by its name.
func (r *release) add(router *message.Router) error {
	for _, h := range []struct {
		name, topic string
		handle      message.NoPublishHandlerFunc
	}{
		// One for each kind of event.
		{"audit-log", r.topics.audit, consumer.Audit(r.audit)},
		{"mailer", r.topics.notification, consumer.Notification(r.notify)},
		{"crm", r.topics.created, consumer.Handle(userCreated, r.created)},
		{"search", r.topics.created, consumer.Domain(r.anyDomain)},
		{"archive", r.topics.created, consumer.Handle(userCreated, r.archive)},
		// Several types on one topic: what is not known is skipped, set aside, or waits.
		{"clicks", r.topics.activity, consumer.Dispatch(consumer.SkipUnknown, r.on(pageViewed))},
		{"carts", r.topics.activity, consumer.Dispatch(consumer.DeadLetterUnknown, r.on(pageViewed), r.on(cartFilled))},
		{"ledger", r.topics.activity, consumer.Dispatch(consumer.FailUnknown, r.ledger()...)},
		// A handler of Watermill's own.
		{"dead-letters", r.topics.deadLetters, r.deadLetter},
	} {
		subscriber, err := r.subscriber(h.name)
		if err != nil {
			return err
		}
		consumer.Add(router, h.name, subscriber, h.topic, h.handle)
	}
	if err := r.addGreeter(router); err != nil {
		return err
	}
	return r.addLoyalty(router)
}

func (r *release) audit(_ context.Context, _ envelopes.Audit, meta consumer.Meta) error {
	return r.tally.handled(meta)
}

func (r *release) notify(_ context.Context, _ envelopes.Notification, meta consumer.Meta) error {
	return r.tally.handled(meta)
}

func (r *release) created(_ context.Context, event consumer.Event[user]) error {
	return r.tally.handled(event.Meta)
}

func (r *release) anyDomain(_ context.Context, _ envelopes.Domain, meta consumer.Meta) error {
	return r.tally.handled(meta)
}

func (r *release) on(eventType string) consumer.Route {
	return consumer.OnType(eventType, consumer.Custom(func(_ context.Context, _ view, meta consumer.Meta) error {
		return r.tally.handled(meta)
	}))
}

// ledger must miss nothing, so what it does not know waits for a release that does.
func (r *release) ledger() []consumer.Route {
	routes := []consumer.Route{r.on(pageViewed), r.on(cartFilled)}
	if r.knowsCoupons {
		routes = append(routes, r.on(couponUsed))
	}
	return routes
}

// archive is slow: the first release is stopped while it has the last user in hand. It gives up, and the
// message comes again.
func (r *release) archive(ctx context.Context, event consumer.Event[user]) error {
	if !r.knowsCoupons && event.AggregateID == people[2] {
		r.tally.add("archive, in hand", event.Meta.Event.EventID)
		<-ctx.Done()
		return ctx.Err()
	}
	return r.tally.handled(event.Meta)
}

func (r *release) deadLetter(msg *message.Message) error {
	r.tally.add("dead-letters", msg.UUID)
	return nil
}

// addGreeter adds a handler that returns messages. The router publishes them, through its decorators, and
// closes the publisher when the handler stops: Shared keeps it open for the others.
func (r *release) addGreeter(router *message.Router) error {
	subscriber, err := r.subscriber("greeter")
	if err != nil {
		return err
	}
	router.AddHandler("greeter", r.topics.created, subscriber, r.topics.notification, consumer.Shared(r.publisher), r.greet)
	return nil
}

func (r *release) greet(msg *message.Message) ([]*message.Message, error) {
	event, err := consumer.Open(msg)
	if err != nil {
		return nil, err
	}
	_, created, err := userCreated.Decode(event)
	if err != nil {
		return nil, err
	}
	// What the Bus would send, complete with correlation and cause. Its id is made from its cause's: whoever
	// sees both, after a message was delivered again, knows that they are one.
	_, greeting, err := r.bus.Message(msg.Context(), envelopes.Notification{
		Metadata:  envelopes.Metadata{EventID: uuid.NewSHA1(uuid.NameSpaceOID, []byte("greeting of "+event.Metadata.EventID)).String()},
		EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{created.AggregateID}, Message: "Hello!",
	})
	if err != nil {
		return nil, err
	}
	r.tally.add("greeter", event.Metadata.EventID)
	return []*message.Message{greeting}, nil
}

// addLoyalty adds a handler of Watermill's CQRS component to the same router.
func (r *release) addLoyalty(router *message.Router) error {
	processor, err := wmcqrs.NewEventProcessorWithConfig(router, r.marshaler.EventProcessorConfig(
		func(params wmcqrs.EventProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return r.subscriber(params.HandlerName)
		}))
	if err != nil {
		return err
	}
	return processor.AddHandlers(wmcqrs.NewEventHandler("loyalty", func(ctx context.Context, _ *renaming) error {
		event, err := cqrs.EventFrom(ctx) // the whole event, of which the handler has the data
		if err != nil {
			return err
		}
		r.tally.add("loyalty", event.Metadata.EventID)
		return nil
	}))
}
