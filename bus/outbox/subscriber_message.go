package outbox

import (
	"context"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// message returns the row as the subscription's consumer expects it.
func (s *subscription) message(row Row) (*message.Message, error) {
	metadata, err := s.metadata(row)
	if err != nil {
		return nil, err
	}
	msg := message.NewMessage(row.EventID, row.Payload)
	msg.Metadata = metadata
	if s.topic != ForwarderTopic {
		return msg, nil
	}
	if !utf8.Valid(row.Key) {
		return nil, fmt.Errorf("outbox: the row's key is not UTF-8, and Watermill's envelope is JSON: forward this table with the default engine")
	}
	return envelop(row.Topic, msg)
}

func (s *subscription) metadata(row Row) (message.Metadata, error) {
	metadata, err := decodeHeaders(row.Headers)
	if err != nil {
		return nil, err
	}
	if row.Key != nil {
		metadata[delivery.KeyMetadata] = string(row.Key)
	}
	return metadata, nil
}

// envelop lets Watermill's own publisher make the envelope that its forwarder unwraps.
func envelop(topic string, msg *message.Message) (*message.Message, error) {
	var caught catcher
	err := forwarder.NewPublisher(&caught, forwarder.PublisherConfig{ForwarderTopic: ForwarderTopic}).Publish(topic, msg)
	if err != nil {
		return nil, fmt.Errorf("outbox: wrap a row for Watermill's forwarder: %w", err)
	}
	return caught.msg, nil
}

// catcher keeps the message it is to publish.
type catcher struct{ msg *message.Message }

func (c *catcher) Publish(_ string, msgs ...*message.Message) error {
	c.msg = msgs[0]
	return nil
}

func (c *catcher) Close() error { return nil }

type failureKey struct{}

// failure carries a reason from a handler to the subscriber, past a nack that has none.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// NoteFailure says why the message of this context is about to be nacked: the reason goes to the row's
// error_message and its dead letter, and SubscriberConfig.Fault judges whose fault it was. Under any
// other subscriber's context it does nothing.
func NoteFailure(ctx context.Context, err error) {
	if noted, ok := ctx.Value(failureKey{}).(*failure); ok {
		noted.mu.Lock()
		defer noted.mu.Unlock()
		noted.err = err
	}
}

// NoteFailures is a Watermill middleware that calls [NoteFailure] with the error a handler returns. Add
// it first, so that it is outermost and sees what the others let through.
func NoteFailures(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		out, err := h(msg)
		if err != nil {
			NoteFailure(msg.Context(), err)
		}
		return out, err
	}
}
