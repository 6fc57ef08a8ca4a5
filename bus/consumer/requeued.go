package consumer

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/deadletter"
)

// SkipOthersRequeues acks, without handling them, messages that were requeued from the dead letters for
// another handler: a requeued message goes to its topic, where handlers see it again that had no trouble
// with it. It goes by the router handler's name, which must then be unique among all services that read
// the topic. A handler behind an inbox (bus/inbox) needs it not, since that knows what it handled.
//
// It belongs around single handlers: Handler.AddMiddleware.
func SkipOthersRequeues(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		name := msg.Metadata.Get(deadletter.HeaderRequeuedFor)
		if name != "" && name != message.HandlerNameFromCtx(msg.Context()) {
			Note(msg.Context(), Ignored)
			return nil, nil
		}
		return next(msg)
	}
}
