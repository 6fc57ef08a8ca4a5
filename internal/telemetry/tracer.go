package telemetry

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// SchemaURL names the version of the conventions that the spans follow.
const SchemaURL = semconv.SchemaURL

// Tracer returns the provider's tracer for an instrumentation scope, which is the import path of the package
// that makes the spans. A nil provider is OpenTelemetry's global one, also if that is set later.
func Tracer(provider trace.TracerProvider, scope string) trace.Tracer {
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	return provider.Tracer(scope, trace.WithSchemaURL(SchemaURL))
}

// Operation is an operation of the messaging conventions.
type Operation uint8

const (
	// Create makes one message; its span's context is the message's creation context.
	Create Operation = iota
	// Send sends one message; its span's context is the message's creation context.
	Send
	// SendCreated sends messages that have creation contexts already; its span links to them.
	SendCreated
	// Process handles a message.
	Process

	operations = iota
)

// terms are the operation's name, which is its type, too, and the kind of its span.
var terms = [operations]struct {
	name string
	kind trace.SpanKind
}{
	Create:      {"create", trace.SpanKindProducer},
	Send:        {"send", trace.SpanKindProducer},
	SendCreated: {"send", trace.SpanKindClient},
	Process:     {"process", trace.SpanKindConsumer},
}

// Spans starts the spans of messaging operations. A nil *Spans starts none.
type Spans struct {
	tracer trace.Tracer
	system attribute.KeyValue
	starts [operations]Cache[*start]
}

// start is what the spans of one operation on one topic begin with. It holds everything that a sampler may
// ask for, and is kept so that a tracer that records nothing costs next to nothing.
type start struct {
	name    string
	options []trace.SpanStartOption
}

// NewSpans returns the spans of an instrumentation scope that works with Kafka, and nil for OpenTelemetry's
// no-op provider. A nil provider is the global one.
func NewSpans(provider trace.TracerProvider, scope string) *Spans {
	return NewSpansOf(provider, scope, semconv.MessagingSystemKafka.Value.AsString())
}

// NewSpansOf is [NewSpans] for another messaging.system.
func NewSpansOf(provider trace.TracerProvider, scope, system string) *Spans {
	tracer := Tracer(provider, scope)
	if _, off := tracer.(noop.Tracer); off {
		return nil
	}
	return &Spans{tracer: tracer, system: semconv.MessagingSystemKey.String(system)}
}

// Start starts the span of an operation on a topic, as a child of the context's span. Without links that
// are given, it allocates nothing of its own.
func (s *Spans) Start(ctx context.Context, operation Operation, topic string, links ...trace.Link) (context.Context, trace.Span) {
	return s.StartAt(ctx, time.Time{}, operation, topic, links...)
}

// StartAt is Start for an operation that began at a time that has passed; the zero time is now.
func (s *Spans) StartAt(ctx context.Context, at time.Time, operation Operation, topic string, links ...trace.Link) (context.Context, trace.Span) {
	of, _ := s.starts[operation].Of(topic, func() *start { return s.newStart(operation, topic) })
	options := of.options
	if len(links) > 0 {
		options = append(slices.Clip(options), trace.WithLinks(links...))
	}
	if !at.IsZero() {
		options = append(slices.Clip(options), trace.WithTimestamp(at))
	}
	return s.tracer.Start(ctx, of.name, options...) //nolint:spancheck // the caller's to end
}

func (s *Spans) newStart(operation Operation, topic string) *start {
	of, topic := terms[operation], text(topic)
	return &start{
		name: of.name + " " + topic,
		options: []trace.SpanStartOption{trace.WithSpanKind(of.kind), trace.WithAttributes(
			s.system,
			semconv.MessagingOperationName(of.name),
			semconv.MessagingOperationTypeKey.String(of.name),
			semconv.MessagingDestinationName(topic),
		)},
	}
}

// maxKey is the longest record key, in bytes, that an attribute holds. The conventions set no limit; a key
// is data, and an attribute is stored with every span.
const maxKey = 256

// text is valid UTF-8: an exporter that encodes protobuf refuses all spans of a request for one that is not.
func text(of string) string { return strings.ToValidUTF8(of, "\uFFFD") }

// Describe sets the attributes of a span on one message: its id, its record key and its correlation id. Empty
// ones are left out, and so is what is too long or no text.
func Describe(span trace.Span, id, key, correlation string) {
	if span.IsRecording() {
		span.SetAttributes(describe(id, key, correlation)...)
	}
}

func describe(id, key, correlation string) []attribute.KeyValue {
	attributes := make([]attribute.KeyValue, 0, 3)
	if utf8.ValidString(id) {
		attributes = append(attributes, semconv.MessagingMessageID(id))
	}
	if key != "" && len(key) <= maxKey && utf8.ValidString(key) {
		attributes = append(attributes, semconv.MessagingKafkaMessageKey(key))
	}
	if correlation != "" && len(correlation) <= maxKey && utf8.ValidString(correlation) {
		attributes = append(attributes, semconv.MessagingMessageConversationID(correlation))
	}
	return attributes
}

// DescribeBatch sets the attribute of a span on several messages.
func DescribeBatch(span trace.Span, messages int) {
	if messages > 1 && span.IsRecording() {
		span.SetAttributes(semconv.MessagingBatchMessageCount(messages))
	}
}

// Link returns a link to a message's creation context. What differs between the messages of a batch stands
// on their links.
func Link(created trace.SpanContext, id, key string) trace.Link {
	return trace.Link{SpanContext: created, Attributes: describe(id, key, "")}
}
