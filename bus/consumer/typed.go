package consumer

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/envelopes"
)

// Audit returns a router handler for audit events. A message that is none is an error that wraps
// envelopes.ErrInvalid, which the chain sends to the dead letters without a retry; so it is with the
// other typed handlers. The handler's context carries what an event published under it inherits (see
// [Correlation]), with or without the chain.
func Audit(handle func(context.Context, envelopes.Audit, Meta) error) message.NoPublishHandlerFunc {
	return decoded(envelopes.Envelope.Audit, handle)
}

// Notification returns a router handler for notification events; see [Audit].
func Notification(handle func(context.Context, envelopes.Notification, Meta) error) message.NoPublishHandlerFunc {
	return decoded(envelopes.Envelope.Notification, handle)
}

// Domain returns a router handler for domain events of any type, whose EventData is raw JSON; see
// [Audit]. [Handle] is for one type that was defined.
func Domain(handle func(context.Context, envelopes.Domain, Meta) error) message.NoPublishHandlerFunc {
	return decoded(envelopes.Envelope.Domain, handle)
}

// Custom returns a router handler for custom events whose payload is a T; see [Audit]. T may be
// json.RawMessage.
func Custom[T any](handle func(context.Context, T, Meta) error) message.NoPublishHandlerFunc {
	return decoded(envelopes.PayloadAs[T], handle)
}

// decoded is a handler of the event that decode makes of the envelope.
func decoded[T any](decode func(envelopes.Envelope) (T, error), handle func(context.Context, T, Meta) error) message.NoPublishHandlerFunc {
	return func(msg *message.Message) error {
		ctx, letter := open(msg)
		if letter.err != nil {
			return letter.err
		}
		event, err := decode(letter.envelope)
		if err != nil {
			return err
		}
		return handle(ctx, event, metaOf(ctx, letter.envelope, msg))
	}
}

// Add adds a handler that returns no messages to a router; name, which must be unique in it, appears in
// logs and dead letters, and topic is complete with its prefix. It is Router.AddConsumerHandler with the
// name, the place and the handler in the order in which one reads them. The router closes the
// subscriber when it closes.
func Add(router *message.Router, name string, subscriber message.Subscriber, topic string, handle message.NoPublishHandlerFunc) *message.Handler {
	return router.AddConsumerHandler(name, topic, subscriber, handle)
}
