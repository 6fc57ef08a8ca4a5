package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
)

const (
	// correlationID is the field that Watermill's middleware.CorrelationID reads, written out because that
	// package brings a circuit breaker along.
	correlationID = "correlation_id"
	// traceParent is the W3C trace-context header.
	traceParent = "traceparent"
)

// completer turns the events of one call into messages.
type completer struct {
	*core
	ctx     context.Context
	now     time.Time
	ambient Metadata
	span    trace.SpanContext
}

func (c *core) completer(ctx context.Context) *completer {
	done := &completer{core: c, ctx: ctx, now: c.Clock(), ambient: MetadataFrom(ctx)}
	if !c.NoTracing {
		done.span = trace.SpanContextFromContext(ctx)
	}
	return done
}

// message completes the event and returns its topic and its message: the envelope as payload, the event id
// as UUID, and as metadata the record key, the correlation id, the trace and the CloudEvents attributes.
func (c *completer) message(event envelopes.Event) (string, *message.Message, error) {
	if event == nil {
		return "", nil, fmt.Errorf("%w: bus: the event is nil", envelopes.ErrInvalid)
	}
	metadata := event.Meta()
	c.complete(&metadata)
	description := event.Describe()
	topic, topicErr := c.topic(&description)
	payload, err := envelopes.EncodeWith(&metadata, event)
	if err := either(err, topicErr); err != nil {
		return "", nil, err
	}

	msg := message.NewMessageWithContext(c.ctx, metadata.EventID, payload)
	msg.Metadata = make(message.Metadata, 10)
	if key := description.RecordKey(metadata.EventID); key != "" {
		msg.Metadata[delivery.KeyMetadata] = key
	}
	if metadata.CorrelationID != "" {
		// It often comes from a request's header, and must not fail the publish for a stray byte there.
		msg.Metadata[correlationID] = envelopes.HeaderValue(metadata.CorrelationID)
	}
	if parent := metadata.TraceParent(c.traceFlags(&metadata)); parent != "" {
		msg.Metadata[traceParent] = parent
	}
	envelopes.CloudEvents(msg.Metadata, &metadata, event)
	return topic, msg, nil
}

func (c *completer) complete(m *envelopes.Metadata) {
	if m.EventID == "" {
		m.EventID = envelopes.NewID()
	}
	if m.Timestamp.IsZero() {
		m.Timestamp = c.now
	}
	m.ServiceName = cmp.Or(m.ServiceName, c.Service)
	m.ServiceVersion = cmp.Or(m.ServiceVersion, c.Version)
	c.ambient.complete(m)
	// Ids of two different traces must not be mixed.
	if m.TraceID == "" && m.SpanID == "" && c.span.IsValid() {
		m.TraceID, m.SpanID = c.span.TraceID().String(), c.span.SpanID().String()
	}
}

// traceFlags are those of the span if the event is in it. Ids that the caller set are of a span that
// somebody records.
func (c *completer) traceFlags(m *envelopes.Metadata) byte {
	if c.span.IsValid() && m.TraceID == c.span.TraceID().String() {
		return byte(c.span.TraceFlags())
	}
	return byte(trace.FlagsSampled)
}

func (c *core) topic(d *envelopes.Description) (string, error) {
	switch d.Kind {
	case envelopes.KindAudit:
		return c.Topics.Audit()
	case envelopes.KindNotification:
		return c.Topics.Notification()
	case envelopes.KindDomain:
		return c.Topics.Domain(c.Service, d.AggregateType, d.EventType)
	default:
		return c.Topics.Custom(d.Topic)
	}
}

func either(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return errors.Join(a, b)
}

// RecordKey returns the record key of a message that a Bus published, "" for none. It has the form that
// watermill-kafka's NewWithPartitioningMarshaler asks for, for who publishes through that publisher; it
// sends "" as an empty key, where bus/kafka sends none.
func RecordKey(_ string, msg *message.Message) (string, error) {
	return msg.Metadata.Get(delivery.KeyMetadata), nil
}
