package bustest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
)

// ErrClosed is returned by a Recorder's Publish after Close.
var ErrClosed = errors.New("bustest: the recorder is closed")

// Recorder is a Watermill publisher that keeps what is published, for tests that need no broker. Its
// zero value is ready, and it is safe for concurrent use.
type Recorder struct {
	mu     sync.Mutex
	events []Published
	fail   error
	closed bool
}

// Published is one message a Recorder was given, or one that waits in an outbox.
type Published struct {
	Topic string
	// Message is a copy: what the publisher does to its message later does not show.
	Message *message.Message
	// Envelope is the payload decoded. When it is no envelope, Err says why.
	Envelope envelopes.Envelope
	Err      error
}

func published(topic string, msg *message.Message) Published {
	envelope, err := envelopes.Decode(msg.Payload)
	return Published{Topic: topic, Message: msg, Envelope: envelope, Err: err}
}

// Key returns the record key, and whether there is one.
func (p Published) Key() (string, bool) {
	key, ok := p.Message.Metadata[delivery.KeyMetadata]
	return key, ok
}

// String is one line that identifies the event without telling what is in it.
func (p Published) String() string {
	if p.Err != nil {
		return fmt.Sprintf("a message that is no event, on %s", p.Topic)
	}
	var about string
	switch p.Envelope.Kind() {
	case envelopes.KindAudit:
		if audit, err := p.Envelope.Audit(); err == nil {
			about = strings.TrimSuffix(audit.ResourceType+" "+audit.ResourceID, " ")
			if audit.Failed {
				about += " (failed)"
			}
		}
	case envelopes.KindNotification:
		if notification, err := p.Envelope.Notification(); err == nil {
			about = strings.Join(append([]string{"to", string(notification.RecipientType)}, notification.RecipientIDs...), " ")
		}
	case envelopes.KindDomain:
		if domain, err := p.Envelope.Domain(); err == nil {
			about = domain.AggregateType + " " + domain.AggregateID
		}
	default:
		if key, ok := p.Key(); ok {
			about = "key " + key
		}
	}
	if about != "" {
		about = ", " + about
	}
	return fmt.Sprintf("%s %s%s, on %s", p.Envelope.Kind(), p.Envelope.EventType, about, p.Topic)
}

// NewRecorder returns an empty Recorder.
func NewRecorder() *Recorder { return &Recorder{} }

// Publish implements message.Publisher.
func (r *Recorder) Publish(topic string, messages ...*message.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	if r.fail != nil {
		return r.fail
	}
	for _, msg := range messages {
		r.events = append(r.events, published(topic, msg.Copy()))
	}
	return nil
}

// Close implements message.Publisher. What was published stays.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}

// Fail makes Publish return err and record nothing; nil ends that.
func (r *Recorder) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Events returns everything published, in order.
func (r *Recorder) Events() []Published {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Messages returns the messages published to a topic, in order.
func (r *Recorder) Messages(topic string) []*message.Message {
	var messages []*message.Message
	for _, event := range r.Events() {
		if event.Topic == topic {
			messages = append(messages, event.Message)
		}
	}
	return messages
}

// Topics returns the topics published to, each once, in the order of their first message.
func (r *Recorder) Topics() []string {
	var topics []string
	for _, event := range r.Events() {
		if !slices.Contains(topics, event.Topic) {
			topics = append(topics, event.Topic)
		}
	}
	return topics
}

// Reset forgets what was published.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}
