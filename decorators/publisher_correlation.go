package decorators

import (
	"cmp"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

// correlationID is the metadata field that Watermill's middleware.CorrelationID and package consumer read.
const correlationID = "correlation_id"

// PublisherCorrelation gives every message the metadata correlation_id:
//
//   - the one it has already, as a Bus and package consumer set it;
//   - else that of the message's context ([bus.WithMetadata]);
//   - else its own UUID, since it is the first of its chain. That is what package consumer takes it for,
//     and what it stays when the message is published again.
//
// Bytes that a header cannot hold are percent-encoded. A message that changes is copied.
func PublisherCorrelation() message.PublisherDecorator {
	return func(next message.Publisher) (message.Publisher, error) { return decorate(next, correlate) }
}

func correlate(next message.Publisher, topic string, msgs []*message.Message) error {
	if incomplete(msgs) {
		return next.Publish(topic, msgs...)
	}
	correlated, shared := msgs, true
	for i, msg := range msgs {
		if msg.Metadata[correlationID] != "" {
			continue
		}
		if shared {
			correlated, shared = slices.Clone(msgs), false
		}
		id := cmp.Or(bus.MetadataFrom(msg.Context()).CorrelationID, msg.UUID)
		if id == "" {
			id = envelopes.NewID()
		}
		correlated[i] = copied(msg)
		correlated[i].Metadata[correlationID] = envelopes.HeaderValue(id)
	}
	return next.Publish(topic, correlated...)
}
