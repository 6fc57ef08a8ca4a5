package bus

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// Message returns the event as the publishing methods would send it, and its topic, and sends nothing. It
// is for who publishes by another way, as Watermill's CQRS component does (see package bus/cqrs). The
// errors are those of an event that is not right. No span is made: the event's creation context is the
// caller's span.
func (b *Bus) Message(ctx context.Context, event envelopes.Event) (topic string, msg *message.Message, err error) {
	topic, msg, _, err = b.core.completer(ctx, 1, nil).message(event)
	if err != nil {
		return "", nil, err
	}
	return topic, msg, nil
}

// Publisher returns the Bus as a Watermill publisher of messages that are complete already, of [Bus.Message]
// or of anybody: they go as they are, delivery.KeyMetadata their record key, to the topic given, which is
// complete with its prefix. With an outbox they are written to it in one statement, in the transaction that
// the first message's context has for this Bus. Its Close does nothing.
func (b *Bus) Publisher() message.Publisher { return watermillPublisher{b} }

type watermillPublisher struct{ bus *Bus }

func (p watermillPublisher) Publish(topic string, msgs ...*message.Message) error {
	if len(msgs) == 0 {
		return nil
	}
	ctx := msgs[0].Context()
	began := p.bus.core.metrics.now()
	ready := &work{ctx: ctx, messages: msgs, topics: make([]string, len(msgs)), foreign: true}
	for i := range msgs {
		ready.topics[i] = topic
	}
	err := p.publish(ctx, ready)
	p.bus.core.metrics.published(p.bus, ready, err, began)
	return err
}

func (p watermillPublisher) publish(ctx context.Context, ready *work) (err error) {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("bus: nothing was published: %w", err)
	}
	if ready.tx, err = p.bus.transaction(ctx); err != nil {
		return err
	}
	if p.bus.core.spans != nil && p.bus.core.Outbox == nil {
		// A message has the creation context it came with.
		ready.origins = make([]origin, len(ready.messages))
		for i, msg := range ready.messages {
			ready.origins[i] = origin{own: true, context: telemetry.Extract(msg.Metadata)}
		}
	}
	return p.bus.send(ctx, ready)
}

func (watermillPublisher) Close() error { return nil }
