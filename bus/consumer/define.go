package consumer

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

// Event is a domain event of a defined type: event.AggregateID, event.Data and the rest of it.
type Event[T any] struct {
	envelopes.Domain

	// Data is the event_data.
	Data T
	// Meta says where the message came from.
	Meta Meta
}

// Handle returns a router handler for the domain events of one defined type (bus.Define); see [Audit].
// An event of another type is an error that is bus.ErrOtherEvent and permanent: subscribe the handler to
// the type's own topic, or use [Dispatch].
func Handle[T any](definition bus.DomainEvent[T], handle func(context.Context, Event[T]) error) message.NoPublishHandlerFunc {
	decode := func(envelope envelopes.Envelope) (Event[T], error) {
		data, event, err := definition.Decode(envelope)
		if errors.Is(err, bus.ErrOtherEvent) {
			err = Permanent(err)
		}
		return Event[T]{Domain: event, Data: data}, err
	}
	return decoded(decode, func(ctx context.Context, event Event[T], meta Meta) error {
		event.Meta = meta
		return handle(ctx, event)
	})
}

// On routes a defined type of domain event to its handler, as [Handle] would: by aggregate and event
// type, upper and lower case being the same.
func On[T any](definition bus.DomainEvent[T], handle func(context.Context, Event[T]) error) Route {
	return newRoute(definition.Aggregate(), definition.EventType(), Handle(definition, handle))
}
