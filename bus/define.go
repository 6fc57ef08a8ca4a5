package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// ErrOtherEvent: an envelope holds another type of event than the one it is decoded as.
var ErrOtherEvent = errors.New("bus: another type of event")

// DomainEvent is one type of domain event whose event_data is a T, so that the compiler checks what is
// published and handled. [Define] makes it; it is a plain value.
type DomainEvent[T any] struct{ aggregate, eventType string }

// Define says once what an event is called and what it carries. T must encode as a JSON object. An illegal
// name is an error when publishing.
func Define[T any](aggregate, eventType string) DomainEvent[T] {
	return DomainEvent[T]{aggregate, eventType}
}

// Aggregate returns the aggregate type.
func (e DomainEvent[T]) Aggregate() string { return e.aggregate }

// EventType returns the event type.
func (e DomainEvent[T]) EventType() string { return e.eventType }

// Topic returns the topic the event has when this service publishes it. The error is a topics.NameError.
func (e DomainEvent[T]) Topic(naming topics.Naming, service string) (string, error) {
	return naming.Domain(service, e.aggregate, e.eventType)
}

// Option sets more of a domain event than its id and data; any function on the event is one.
type Option func(*envelopes.Domain)

// WithEventMetadata gives the event metadata of its own, which stands over the context's.
func WithEventMetadata(m envelopes.Metadata) Option {
	return func(event *envelopes.Domain) { event.Metadata = m }
}

// WithBusinessContext sets the business context, a value that encodes as a JSON object.
func WithBusinessContext(value any) Option {
	return func(event *envelopes.Domain) { event.BusinessContext = value }
}

// WithVersion sets the event version. Default: 1.
func WithVersion(version int) Option {
	return func(event *envelopes.Domain) { event.EventVersion = version }
}

// New returns the event, for [Bus.PublishAll].
func (e DomainEvent[T]) New(aggregateID string, data T, options ...Option) envelopes.Domain {
	event := envelopes.Domain{AggregateType: e.aggregate, AggregateID: aggregateID, EventType: e.eventType, EventData: data}
	for _, option := range options {
		option(&event)
	}
	return event
}

// Publish publishes the event on b and returns its id; see [Bus.PublishAudit] for the errors.
func (e DomainEvent[T]) Publish(ctx context.Context, b *Bus, aggregateID string, data T, options ...Option) (string, error) {
	return b.PublishDomain(ctx, e.New(aggregateID, data, options...))
}

// Decode returns the envelope's event_data as T, and the whole event. The error is [ErrOtherEvent] when
// it is of another type (upper and lower case are the same, as in topics), and else wraps
// envelopes.ErrInvalid.
func (e DomainEvent[T]) Decode(envelope envelopes.Envelope) (T, envelopes.Domain, error) {
	var none T
	if !strings.EqualFold(envelope.EventType, e.eventType) {
		return none, envelopes.Domain{}, e.other()
	}
	event, err := envelope.Domain()
	if err != nil {
		return none, event, err
	}
	if !strings.EqualFold(event.AggregateType, e.aggregate) {
		return none, event, e.other()
	}
	data, err := envelopes.DataAs[T](event)
	return data, event, err
}

func (e DomainEvent[T]) other() error {
	return fmt.Errorf("%w: it is not %s of %s: subscribe this handler to its own topic only", ErrOtherEvent, e.eventType, e.aggregate)
}
