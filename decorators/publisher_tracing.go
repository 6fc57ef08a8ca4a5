package decorators

import (
	"cmp"
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/internal/telemetry"
	"github.com/tailrace-go/tailrace/internal/telemetry/outcome"
)

// scope is the instrumentation scope of the spans.
const scope = "github.com/tailrace-go/tailrace/decorators"

// kafka is the messaging.system that has record keys.
const kafka = "kafka"

// PublisherTracingConfig is how [PublisherTracing] traces.
type PublisherTracingConfig struct {
	// Tracer makes the spans. Default: OpenTelemetry's global provider.
	Tracer trace.TracerProvider
	// System is the messaging.system of the spans, as the conventions name it ("rabbitmq", "gcp_pubsub").
	// Default: kafka.
	System string
}

// PublisherTracing makes the spans of publishing by OpenTelemetry's Semantic Conventions for messaging,
// version 1.43.0, and writes the creation context into each message's metadata, as traceparent and tracestate
// (W3C Trace Context, whatever propagator the application has):
//
//   - A message has a span "send {topic}", kind PRODUCER, a child of its context's span.
//   - Several of one call have a span "create {topic}" each, and together a "send {topic}", kind CLIENT, which
//     links to them.
//   - A message that has a traceparent keeps it: it was created elsewhere, by a Bus for instance, and the send
//     links to that.
//
// A span that failed has an error.type and the error's text as its status. With a provider that makes no spans,
// the context of the message's span flows as it is. A message that changes is copied; its context inside has
// the span of sending.
func PublisherTracing(config PublisherTracingConfig) message.PublisherDecorator {
	return func(next message.Publisher) (message.Publisher, error) {
		system := cmp.Or(config.System, kafka)
		t := &publisherTracing{spans: telemetry.NewSpansOf(config.Tracer, scope, system), keys: system == kafka}
		return decorate(next, t.publish)
	}
}

type publisherTracing struct {
	spans *telemetry.Spans // nil makes none
	keys  bool
}

func (t *publisherTracing) publish(next message.Publisher, topic string, msgs []*message.Message) error {
	switch {
	case incomplete(msgs):
		return next.Publish(topic, msgs...)
	case t.spans == nil:
		return next.Publish(topic, flowing(msgs)...)
	case len(msgs) == 1:
		return t.publishOne(next, topic, msgs[0])
	}
	return t.publishAll(next, topic, msgs)
}

// flowing returns the messages with the context of the span they were made in.
func flowing(msgs []*message.Message) []*message.Message {
	out := make([]*message.Message, len(msgs))
	for i, msg := range msgs {
		out[i] = msg
		if span := trace.SpanContextFromContext(msg.Context()); span.IsValid() && !telemetry.Extract(msg.Metadata).IsValid() {
			out[i] = injected(msg, span)
		}
	}
	return out
}

func injected(msg *message.Message, span trace.SpanContext) *message.Message {
	own := copied(msg)
	// It may be left of a trace whose traceparent cannot be read.
	delete(own.Metadata, telemetry.TraceState)
	telemetry.Inject(own.Metadata, span)
	return own
}

func (t *publisherTracing) publishOne(next message.Publisher, topic string, msg *message.Message) error {
	var ctx context.Context
	var span trace.Span
	var own *message.Message
	if created := telemetry.Extract(msg.Metadata); created.IsValid() {
		ctx, span = t.spans.Start(msg.Context(), telemetry.SendCreated, topic, t.link(created, msg))
		own = copied(msg)
	} else {
		ctx, span = t.spans.Start(msg.Context(), telemetry.Send, topic)
		own = injected(msg, span.SpanContext())
	}
	own.SetContext(ctx)
	telemetry.Describe(span, msg.UUID, t.key(msg), msg.Metadata[correlationID])
	return publishIn(span, next, topic, own)
}

// publishIn publishes and ends the span.
func publishIn(span trace.Span, next message.Publisher, topic string, msgs ...*message.Message) (err error) {
	err = telemetry.ErrPanicked // until there is another
	defer func() { telemetry.End(span, err, outcome.ErrorType(err)) }()
	return next.Publish(topic, msgs...)
}

func (t *publisherTracing) publishAll(next message.Publisher, topic string, msgs []*message.Message) error {
	out, links := make([]*message.Message, len(msgs)), make([]trace.Link, 0, len(msgs))
	for i, msg := range msgs {
		created := telemetry.Extract(msg.Metadata)
		if created.IsValid() {
			out[i] = copied(msg)
		} else {
			_, span := t.spans.Start(msg.Context(), telemetry.Create, topic)
			telemetry.Describe(span, msg.UUID, t.key(msg), msg.Metadata[correlationID])
			created = span.SpanContext()
			out[i] = injected(msg, created)
			span.End()
		}
		if created.IsValid() {
			links = append(links, t.link(created, msg))
		}
	}
	// Messages of one call are sent for one caller; if their contexts differ, the first speaks for all.
	ctx, span := t.spans.Start(msgs[0].Context(), telemetry.SendCreated, topic, links...)
	telemetry.DescribeBatch(span, len(msgs))
	sending := trace.SpanFromContext(ctx)
	for _, msg := range out {
		msg.SetContext(trace.ContextWithSpan(msg.Context(), sending))
	}
	return publishIn(span, next, topic, out...)
}

func (t *publisherTracing) link(created trace.SpanContext, msg *message.Message) trace.Link {
	return telemetry.Link(created, msg.UUID, t.key(msg))
}

func (t *publisherTracing) key(msg *message.Message) string {
	if !t.keys {
		return ""
	}
	return msg.Metadata[delivery.KeyMetadata]
}
