package bus

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/telemetry"
	"github.com/tailrace-go/tailrace/internal/telemetry/outcome"
)

// scope is the instrumentation scope of the spans.
const scope = "github.com/tailrace-go/tailrace/bus"

// origin is what an event comes from, as its consumers will know it.
type origin struct {
	// ctx is the caller's, with span if there is one.
	ctx context.Context
	// span is open, or nil.
	span trace.Span
	// context is the creation context: that of span, of the caller's span, or of the caller's own ids.
	context trace.SpanContext
	// own says that the caller set the event's trace ids.
	own bool
}

// origin starts the event's span, if it is to have one, and puts the creation context's ids into the
// event. A span without a topic would have no name.
func (c *completer) origin(m *envelopes.Metadata, topic string) origin {
	from := origin{ctx: c.ctx, context: c.span}
	// Ids of two different traces must not be mixed.
	if m.TraceID != "" || m.SpanID != "" {
		from.own = true
		if c.spans != nil {
			from.context = parsed(m)
		}
		return from
	}
	if c.spans != nil && topic != "" {
		from.ctx, from.span = c.spans.Start(c.ctx, c.operation, topic)
		from.context = from.span.SpanContext()
	}
	if from.context.IsValid() {
		m.TraceID, m.SpanID = from.context.TraceID().String(), from.context.SpanID().String()
	}
	return from
}

// encode encodes the event. When a value's own encoding panics, nobody else knows yet of the span to end.
func (from *origin) encode(m *envelopes.Metadata, event envelopes.Event) (payload []byte, err error) {
	if from.span == nil {
		return envelopes.EncodeWith(m, event)
	}
	encoded := false
	defer func() {
		if !encoded {
			telemetry.End(from.span, telemetry.ErrPanicked, "")
		}
	}()
	payload, err = envelopes.EncodeWith(m, event)
	encoded = true
	return payload, err
}

// parsed returns the context of trace ids that the caller set. They are of a span that somebody records.
func parsed(m *envelopes.Metadata) trace.SpanContext {
	// What is no id is the zero one, and the context then not valid.
	traceID, _ := trace.TraceIDFromHex(m.TraceID)
	spanID, _ := trace.SpanIDFromHex(m.SpanID)
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled, Remote: true})
}

// traceFlags are those of the span if the event is in it. Ids that the caller set are of a span that
// somebody records.
func (c *completer) traceFlags(from *origin, m *envelopes.Metadata) byte {
	switch {
	case !from.own:
		return byte(from.context.TraceFlags())
	case c.span.IsValid() && m.TraceID == c.span.TraceID().String():
		return byte(c.span.TraceFlags())
	}
	return byte(trace.FlagsSampled)
}

// created is called when all events are messages. The spans of several that are sent directly end here:
// sending has spans of its own.
func (w *work) created(outbox bool) {
	switch {
	case len(w.origins) == 0:
	case len(w.origins) == 1:
		w.ctx = w.origins[0].ctx
	case !outbox:
		w.end(nil)
	}
}

// end ends the spans that are open.
func (w *work) end(err error) {
	class := ""
	for i := range w.origins {
		if span := w.origins[i].span; span != nil {
			if class == "" {
				class = outcome.ErrorType(err)
			}
			telemetry.End(span, err, class)
			w.origins[i].span = nil
		}
	}
}

// sending starts the span of a call of the Publisher, unless the span of the only message is that one, and
// returns what ends it.
func (b *Bus) sending(ctx context.Context, w *work, topic string, msgs []*message.Message) func(error) {
	if n := len(w.origins); n == 0 || n == 1 && !w.origins[0].own {
		return unspanned
	}
	ambient := trace.SpanContextFromContext(ctx)
	links := make([]trace.Link, 0, len(msgs))
	for i, msg := range w.messages {
		from := &w.origins[i]
		// Where no span was made, the context is the caller's, whose child this is.
		if w.topics[i] == topic && from.context.IsValid() && from.context.SpanID() != ambient.SpanID() {
			links = append(links, telemetry.Link(from.context, msg.UUID, msg.Metadata[delivery.KeyMetadata]))
		}
	}
	ctx, span := b.core.spans.Start(ctx, telemetry.SendCreated, topic, links...)
	if len(msgs) == 1 {
		telemetry.Describe(span, msgs[0].UUID, msgs[0].Metadata[delivery.KeyMetadata], msgs[0].Metadata[correlationID])
	} else {
		telemetry.DescribeBatch(span, len(msgs))
	}
	if !w.foreign {
		for _, msg := range msgs {
			msg.SetContext(ctx)
		}
	}
	return func(err error) {
		telemetry.End(span, err, outcome.ErrorType(err))
	}
}

func unspanned(error) {}
