package bus

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/envelopes"
)

// Message returns the event as the publishing methods would send it, and its topic, and sends nothing. It
// is for who publishes by another way, as Watermill's CQRS component does (see package bus/cqrs). The
// errors are those of an event that is not right.
func (b *Bus) Message(ctx context.Context, event envelopes.Event) (topic string, msg *message.Message, err error) {
	return b.core.completer(ctx).message(event)
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
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("bus: nothing was published: %w", err)
	}
	tx, err := p.bus.transaction(ctx)
	if err != nil {
		return err
	}
	ready := &work{tx: tx, topics: make([]string, len(msgs)), messages: msgs}
	for i := range msgs {
		ready.topics[i] = topic
	}
	return p.bus.send(ctx, ready)
}

func (watermillPublisher) Close() error { return nil }
