package consumer

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
)

// opened is a message whose envelope was decoded. It travels in the message's context, so that a message
// is decoded once however many middlewares, routes and attempts look into it.
type opened struct {
	payload  message.Payload
	envelope envelopes.Envelope
	err      error
}

type openedKey struct{}

// open returns the message's envelope and a context that carries it and what an event published under
// that context inherits. An undecodable message has what its headers say.
func open(msg *message.Message) (context.Context, *opened) {
	ctx := msg.Context()
	if letter, ok := ctx.Value(openedKey{}).(*opened); ok && sameBytes(letter.payload, msg.Payload) {
		return ctx, letter
	}
	letter := &opened{payload: msg.Payload}
	letter.envelope, letter.err = envelopes.Decode(msg.Payload)
	ctx = context.WithValue(ctx, openedKey{}, letter)
	return inherit(ctx, &letter.envelope.Metadata, msg), letter
}

// sameBytes compares by address: middlewares that replace a payload set another slice.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Meta is what a typed handler may want to know besides the event.
type Meta struct {
	// Event is the event's metadata, as the publisher sent it.
	Event envelopes.Metadata
	// EventType is the event's type.
	EventType string
	// Origin is the record the message was read from. Partition and Offset are -1 when the subscriber
	// does not say (bus/kafka's does).
	Origin delivery.Origin
	// Handler is the router handler's name; empty outside a router.
	Handler string
	// Attempt counts the attempts at the message since its last delivery, from 1.
	Attempt int
	// Headers are the message's metadata, for reading only.
	Headers message.Metadata
}

func metaOf(ctx context.Context, envelope envelopes.Envelope, msg *message.Message) Meta {
	meta := Meta{
		Event: envelope.Metadata, EventType: envelope.EventType,
		Handler: message.HandlerNameFromCtx(ctx), Attempt: Attempt(ctx), Headers: msg.Metadata,
	}
	origin, ok := delivery.OriginFrom(ctx)
	if !ok {
		origin = delivery.Origin{Topic: message.SubscribeTopicFromCtx(ctx), Partition: -1, Offset: -1}
		if key, keyed := msg.Metadata[delivery.KeyMetadata]; keyed {
			origin.Key = []byte(key)
		}
	}
	meta.Origin = origin
	return meta
}

// MetaFrom returns the Meta of a message, for handlers that take the message itself. The error is
// envelopes.ErrInvalid when the message is no event; the Meta then has what its headers say.
func MetaFrom(msg *message.Message) (Meta, error) {
	ctx, letter := open(msg)
	return metaOf(ctx, letter.envelope, msg), letter.err
}

// Open decodes the message's envelope, once however often it is called, and gives the message a context
// under which events continue its chain, as [Correlation] does. It is for handlers that are not this
// package's own, as those of Watermill's CQRS component. The error is envelopes.ErrInvalid when the message
// is no event.
func Open(msg *message.Message) (envelopes.Envelope, error) {
	ctx, letter := open(msg)
	msg.SetContext(ctx)
	return letter.envelope, letter.err
}
