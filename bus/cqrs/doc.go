// Package cqrs lets Watermill's CQRS component (github.com/ThreeDotsLabs/watermill/components/cqrs) speak
// our events, so that an application built on it joins without change: what its cqrs.EventBus publishes are
// domain events like those of any Bus, and its cqrs.EventProcessor reads those of any service.
//
// # Which type is which event
//
// A Go type becomes a domain event by registration, of the same definition that other services handle it by,
//
//	registry := cqrs.NewRegistry()
//	cqrs.Register(registry, UserCreated, func(e User) string { return e.ID })            // this service's
//	cqrs.Register(registry, OrderPlaced, nil, cqrs.From("orders"))                       // read from another
//	cqrs.Register(registry, UserMoved, func(e Move) string { return e.User }, cqrs.OnTopic("users"))
//
// or says what it is itself, by the methods of [Event]. Its fields are the event_data. A type that is
// neither is [ErrUnregistered], where it is published and where its handler is added.
//
// # Use
//
//	marshaler, err := cqrs.New(cqrs.Config{Bus: b, Registry: registry})
//	events, err := marshaler.EventBus()                                          // a *cqrs.EventBus
//	processor, err := wmcqrs.NewEventProcessorWithConfig(router, marshaler.EventProcessorConfig(subscribers))
//
// An application that configures these itself sets four fields: Marshaler, OnPublish ([Marshaler.OnPublish]),
// GeneratePublishTopic ([Marshaler.PublishTopic]) and GenerateSubscribeTopic ([Marshaler.SubscribeTopic]),
// and takes bus.Bus.Publisher as its publisher.
//
// # Transactions and correlation
//
// EventBus.Publish writes to the outbox in the transaction that the Bus has in the context (Bus.Transact,
// Bus.WithTx, the inbox), and the events get what the context tells (bus.WithMetadata, the OpenTelemetry
// span). In a handler, the context continues the chain of the event that is handled: what the handler
// publishes has its correlation id, user and trace, and the event as its cause.
//
// An inbox (package inbox) goes around the handlers by the processor's OnHandle, where it is inside of the
// router's middlewares:
//
//	config.OnHandle = func(params wmcqrs.EventProcessorOnHandleParams) error {
//		return box.Once(params.Handler.HandlerName(), func(msg *message.Message) error {
//			return params.Handler.Handle(msg.Context(), params.Event)
//		})(params.Message)
//	}
//
// # Unknown types, faulty messages
//
// What becomes of a type that has no handler is Watermill's own AckOnUnknownEvent. A message that is no event
// or does not fit the handler's type is an error that wraps envelopes.ErrInvalid, which the chain of package
// consumer sends to the dead letters without a retry.
//
// Commands are no events: a cqrs.CommandBus keeps the marshaler that it has.
package cqrs
