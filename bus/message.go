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
	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// correlationID is the field that Watermill's middleware.CorrelationID reads, written out because that
// package brings a circuit breaker along.
const correlationID = "correlation_id"

// completer turns the events of one call into messages.
type completer struct {
	*core
	ctx     context.Context
	now     time.Time
	ambient Metadata
	span    trace.SpanContext // the caller's
	// spans makes a span an event, about operation; nil makes none.
	spans     *telemetry.Spans
	operation telemetry.Operation
}

func (c *core) completer(ctx context.Context, events int, spans *telemetry.Spans) *completer {
	done := &completer{core: c, ctx: ctx, now: c.Clock(), ambient: MetadataFrom(ctx), spans: spans, operation: telemetry.Create}
	if events == 1 && c.Outbox == nil {
		done.operation = telemetry.Send
	}
	if !c.NoTracing {
		done.span = trace.SpanContextFromContext(ctx)
	}
	return done
}

// message completes the event and returns its topic, its message and where that comes from: the envelope as
// payload, the event id as UUID, and as metadata the record key, the correlation id, the trace and the
// CloudEvents attributes. Topic and origin are there beside an error, as far as they were known.
func (c *completer) message(event envelopes.Event) (string, *message.Message, origin, error) {
	if event == nil {
		return "", nil, origin{}, fmt.Errorf("%w: bus: the event is nil", envelopes.ErrInvalid)
	}
	metadata := event.Meta()
	c.complete(&metadata)
	description := event.Describe()
	event = c.redacted(event)
	topic, topicErr := c.topic(&description)
	from := c.origin(&metadata, topic)
	payload, err := from.encode(&metadata, event)
	if err := either(err, topicErr); err != nil {
		return topic, nil, from, err
	}

	msg := message.NewMessageWithContext(from.ctx, metadata.EventID, payload)
	msg.Metadata = make(message.Metadata, 10)
	key := description.RecordKey(metadata.EventID)
	if key != "" {
		msg.Metadata[delivery.KeyMetadata] = key
	}
	if metadata.CorrelationID != "" {
		// It often comes from a request's header, and must not fail the publish for a stray byte there.
		msg.Metadata[correlationID] = envelopes.HeaderValue(metadata.CorrelationID)
	}
	if parent := metadata.TraceParent(c.traceFlags(&from, &metadata)); parent != "" {
		msg.Metadata[telemetry.TraceParent] = parent
	}
	if state := from.context.TraceState(); !from.own && state.Len() > 0 {
		msg.Metadata[telemetry.TraceState] = state.String()
	}
	envelopes.CloudEvents(msg.Metadata, &metadata, event)
	if from.span != nil {
		telemetry.Describe(from.span, metadata.EventID, key, metadata.CorrelationID)
	}
	return topic, msg, from, nil
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
