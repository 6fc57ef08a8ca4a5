package cqrs

import (
	"context"
	"fmt"
	"maps"
	"reflect"

	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
)

// EventBus returns Watermill's event bus, publishing by the Bus: to its outbox in the transaction that the
// context has for it, or directly.
func (m *Marshaler) EventBus() (*wmcqrs.EventBus, error) {
	if m.bus == nil {
		return nil, ErrNoBus
	}
	return wmcqrs.NewEventBusWithConfig(m.bus.Publisher(), m.EventBusConfig())
}

// EventBusConfig returns the configuration for a cqrs.EventBus with a publisher of the caller's. A
// Marshaler put around this one (cqrs.CommandEventMarshalerDecorator) is well; an OnPublish of the caller's
// own calls [Marshaler.OnPublish] first.
func (m *Marshaler) EventBusConfig() wmcqrs.EventBusConfig {
	return wmcqrs.EventBusConfig{GeneratePublishTopic: m.PublishTopic, OnPublish: m.OnPublish, Marshaler: m}
}

// OnPublish is a cqrs.EventBusConfig.OnPublish: it adds to the message what its context tells of every event
// (bus.WithMetadata, the OpenTelemetry span), which the marshaler could not know. Fields that somebody else
// added to the envelope stay, and a payload that somebody else made into something that is no domain event,
// for instance by encrypting it, stays as it is.
func (m *Marshaler) OnPublish(params wmcqrs.OnEventSendParams) error {
	msg := params.Message
	ctx := msg.Context()
	if m.bus == nil {
		return ErrNoBus
	}
	if !tells(ctx) {
		return nil
	}
	envelope, err := envelopes.Decode(msg.Payload)
	if err != nil {
		return nil //nolint:nilerr // somebody else's payload, as said above
	}
	event, err := envelope.Domain()
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	_, complete, err := m.bus.Message(ctx, event)
	if err != nil {
		return fmt.Errorf("cqrs: %s: %w", params.EventName, err)
	}
	if msg.Payload, err = withUnknown(msg.Payload, complete.Payload); err != nil {
		return fmt.Errorf("cqrs: %s: %w", params.EventName, err)
	}
	maps.Copy(msg.Metadata, complete.Metadata)
	return nil
}

// tells reports whether the context has anything for an event.
func tells(ctx context.Context) bool {
	return trace.SpanContextFromContext(ctx).IsValid() || !reflect.ValueOf(bus.MetadataFrom(ctx)).IsZero()
}

// EventProcessorConfig returns the configuration for a cqrs.EventProcessor. Change what else it should do:
// AckOnUnknownEvent, OnHandle, Logger. The router wants the chain of package consumer, as for any handler.
func (m *Marshaler) EventProcessorConfig(subscribers wmcqrs.EventProcessorSubscriberConstructorFn) wmcqrs.EventProcessorConfig {
	return wmcqrs.EventProcessorConfig{
		GenerateSubscribeTopic: m.SubscribeTopic, SubscriberConstructor: subscribers, Marshaler: m,
	}
}

// EventGroupProcessorConfig returns the configuration for a cqrs.EventGroupProcessor, as
// [Marshaler.EventProcessorConfig] does.
func (m *Marshaler) EventGroupProcessorConfig(subscribers wmcqrs.EventGroupProcessorSubscriberConstructorFn) wmcqrs.EventGroupProcessorConfig {
	return wmcqrs.EventGroupProcessorConfig{
		GenerateSubscribeTopic: m.SubscribeGroupTopic, SubscriberConstructor: subscribers, Marshaler: m,
	}
}

// EventFrom returns the whole event that a handler of a processor was called for: its metadata, aggregate id
// and version, which the handler's own type need not have. The error is envelopes.ErrInvalid outside of one.
func EventFrom(ctx context.Context) (envelopes.Domain, error) {
	msg := wmcqrs.OriginalMessageFromCtx(ctx)
	if msg == nil {
		return envelopes.Domain{}, fmt.Errorf("%w: cqrs: the context is not that of an event handler", envelopes.ErrInvalid)
	}
	envelope, err := consumer.Open(msg)
	if err != nil {
		return envelopes.Domain{}, err
	}
	return envelope.Domain()
}
