package consumer

import (
	"cmp"
	"context"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// scope is the instrumentation scope of the spans.
const scope = "github.com/tailrace-go/tailrace/bus/consumer"

// Attributes that the conventions have no name for.
const (
	// AttributeHandler is the router handler's name.
	AttributeHandler = attribute.Key("tailrace.handler")
	// AttributeOutcome is an [Outcome].
	AttributeOutcome = attribute.Key("tailrace.outcome")
	// AttributeAttempts counts the attempts at the message in this delivery.
	AttributeAttempts = attribute.Key("tailrace.attempts")
)

// Tracing makes one span "process {topic}" a delivery, of kind CONSUMER, by OpenTelemetry's messaging
// conventions 1.43.0. Its parent and its link is the span that published the message, by the W3C
// traceparent header, else by the envelope; a span that the context has already stays the parent. The
// handler's context has the span, so that what is published under it continues the trace, and messages
// that the handler returns get it as their traceparent, unless they have one.
//
// It belongs outermost, so that the span knows how the message ended. A nil provider is OpenTelemetry's
// global one; while that is not set, messages continue their trace without a span.
func Tracing(provider trace.TracerProvider) message.HandlerMiddleware {
	spans := telemetry.NewSpans(provider, scope)
	return func(next message.HandlerFunc) message.HandlerFunc {
		if spans == nil {
			return next
		}
		return func(msg *message.Message) ([]*message.Message, error) {
			grow()
			return traced(spans, next, msg)
		}
	}
}

func traced(spans *telemetry.Spans, next message.HandlerFunc, msg *message.Message) (produced []*message.Message, err error) {
	outer := msg.Context()
	ctx, created := creation(outer, msg)
	if created.IsValid() && !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, created)
	}
	ctx, record := withAttempts(ctx, msg)
	ctx, span := spans.Start(ctx, telemetry.Process, message.SubscribeTopicFromCtx(ctx))
	if span.IsRecording() {
		if created.IsValid() {
			span.AddLink(trace.Link{SpanContext: created})
		}
		telemetry.Describe(span, cmp.Or(msg.Metadata[envelopes.HeaderID], msg.UUID), msg.Metadata[delivery.KeyMetadata], msg.Metadata[correlationHeader])
		span.SetAttributes(placeOf(ctx)...)
	}
	msg.SetContext(ctx)
	err = errPanicked // unless next returns
	defer func() {
		msg.SetContext(outer)
		if span.IsRecording() {
			outcome, cause := record.ended(err)
			span.SetAttributes(AttributeOutcome.String(string(outcome)), AttributeAttempts.Int(record.number))
			telemetry.Fail(span, cause, "")
		}
		span.End()
	}()
	produced, err = next(msg)
	for _, out := range produced {
		if out != msg && out.Metadata.Get(telemetry.TraceParent) == "" {
			if out.Metadata == nil {
				out.Metadata = message.Metadata{}
			}
			telemetry.Inject(out.Metadata, trace.SpanContextFromContext(ctx))
		}
	}
	return produced, err
}

// creation returns the context of the span that published the message. Only a message without the header
// is decoded for it, once for all who look into it.
func creation(ctx context.Context, msg *message.Message) (context.Context, trace.SpanContext) {
	if header := telemetry.Extract(msg.Metadata); header.IsValid() {
		return ctx, header
	}
	ctx, letter := open(msg)
	return ctx, recorded(&letter.envelope.Metadata)
}

// placeOf is where the message was read from, and by whom.
func placeOf(ctx context.Context) []attribute.KeyValue {
	attributes := append(make([]attribute.KeyValue, 0, 4), AttributeHandler.String(message.HandlerNameFromCtx(ctx)))
	origin, ok := delivery.OriginFrom(ctx)
	if !ok {
		return attributes
	}
	if origin.Group != "" {
		attributes = append(attributes, semconv.MessagingConsumerGroupName(origin.Group))
	}
	return append(attributes, semconv.MessagingDestinationPartitionID(strconv.Itoa(int(origin.Partition))), semconv.MessagingKafkaOffset(int(origin.Offset)))
}

// failedAttempts tells the span of each attempt that failed.
func failedAttempts(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		produced, err := next(msg)
		if err != nil {
			if span := trace.SpanFromContext(msg.Context()); span.IsRecording() {
				span.AddEvent("attempt failed", trace.WithAttributes(
					AttributeAttempts.Int(Attempt(msg.Context())), semconv.ErrorTypeKey.String(telemetry.ErrorType(err))))
			}
		}
		return produced, err
	}
}
