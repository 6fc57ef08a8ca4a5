package telemetry

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The headers of W3C Trace Context (https://www.w3.org/TR/trace-context/).
const (
	TraceParent = "traceparent"
	TraceState  = "tracestate"
)

// Inject writes a span's context into a message's metadata, which must not be nil, and nothing for a span
// that is not valid. It is always W3C Trace Context, whatever propagator the application has for other
// protocols: consumers of any language read it.
func Inject(metadata message.Metadata, span trace.SpanContext) {
	if span.IsValid() {
		propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), span), propagation.MapCarrier(metadata))
	}
}

// Extract returns the span's context that a message's metadata has, as a remote one. Without one, or with one
// that is not well-formed, it is not valid.
func Extract(metadata message.Metadata) trace.SpanContext {
	if metadata[TraceParent] == "" {
		return trace.SpanContext{}
	}
	return trace.SpanContextFromContext(Continue(context.Background(), metadata))
}

// Continue returns a context in the span that [Extract] returns, or ctx if that is not valid.
func Continue(ctx context.Context, metadata message.Metadata) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier(metadata))
}
