package decorators

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// errNoPublisher is what decorating nothing returns, and a router with it.
var errNoPublisher = errors.New("decorators: there is no publisher to decorate: give the handler one, or leave the decorator out")

// publishing is what a decorator does in place of the publisher's Publish.
type publishing func(next message.Publisher, topic string, msgs []*message.Message) error

// publisher is a decorated publisher.
type publisher struct {
	next    message.Publisher
	publish publishing
	close   func() error
}

func decorate(next message.Publisher, publish publishing) (message.Publisher, error) {
	if next == nil {
		return nil, errNoPublisher
	}
	return &publisher{next, publish, sync.OnceValue(next.Close)}, nil
}

// Publish implements [message.Publisher].
func (p *publisher) Publish(topic string, msgs ...*message.Message) error {
	return p.publish(p.next, topic, msgs)
}

// Close closes the publisher that is decorated, once: a router closes what each of its handlers was given.
func (p *publisher) Close() error { return p.close() }

// incomplete reports whether there is nothing to decorate: no messages, or a nil one, which is the
// publisher's to refuse.
func incomplete(msgs []*message.Message) bool { return len(msgs) == 0 || slices.Contains(msgs, nil) }

// copied returns a message like msg, with metadata of its own. The payload is shared. The caller's message
// must not change: it may be the one that a handler consumed, or be published again.
func copied(msg *message.Message) *message.Message {
	own := message.NewMessageWithContext(msg.Context(), msg.UUID, msg.Payload)
	own.Metadata = make(message.Metadata, len(msg.Metadata)+2)
	maps.Copy(own.Metadata, msg.Metadata)
	return own
}
