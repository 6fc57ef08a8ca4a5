package consumer

import (
	"cmp"
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// Correlation continues the message's chain: what the handler publishes through a Bus with the message's
// context has the message's correlation id, user, session, request and trace, and the message's event
// as its cause, unless the event says otherwise. Messages that the handler returns get the correlation
// id as metadata, unless they have one.
//
// The correlation id is the envelope's, else the correlation_id header, else the id of the event, which
// then is the first of its chain. An undecodable message is passed on with what its headers say.
//
// Watermill's own CorrelationID serves returned messages only, and never starts a chain.
func Correlation(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		grow()
		outer := msg.Context()
		ctx, letter := open(msg)
		msg.SetContext(ctx)
		defer msg.SetContext(outer)

		produced, err := next(msg)
		if len(produced) > 0 {
			correlation := correlationID(&letter.envelope.Metadata, msg)
			for _, out := range produced {
				// A passed-through message is the consumed one, whose metadata must stay unchanged.
				if out == msg || out.Metadata.Get(correlationHeader) != "" {
					continue
				}
				if out.Metadata == nil {
					out.Metadata = message.Metadata{}
				}
				out.Metadata.Set(correlationHeader, correlation)
			}
		}
		return produced, err
	}
}

// correlationHeader is the field that Watermill's middleware.CorrelationID reads and bus writes.
const correlationHeader = "correlation_id"

func correlationID(event *envelopes.Metadata, msg *message.Message) string {
	return cmp.Or(event.CorrelationID, msg.Metadata.Get(correlationHeader), eventID(event, msg))
}

// EventID returns the id by which the message's event is known, the same at each of its deliveries: the
// envelope's, else the ce_id header, else the message's UUID; "" if it has none of them.
func EventID(msg *message.Message) string {
	_, letter := open(msg)
	return eventID(&letter.envelope.Metadata, msg)
}

func eventID(event *envelopes.Metadata, msg *message.Message) string {
	return cmp.Or(event.EventID, msg.Metadata.Get(envelopes.HeaderID), msg.UUID)
}

// inherit returns a context whose events continue the message's chain.
func inherit(ctx context.Context, event *envelopes.Metadata, msg *message.Message) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() { // else a tracing middleware knows better
		if header := telemetry.Continue(ctx, msg.Metadata); trace.SpanContextFromContext(header).IsValid() {
			ctx = header
		} else if parent := recorded(event); parent.IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
		}
	}
	return bus.WithMetadata(ctx, bus.Metadata{
		CorrelationID: correlationID(event, msg),
		CausationID:   eventID(event, msg),
		UserID:        event.UserID,
		SessionID:     event.SessionID,
		RequestID:     event.RequestID,
		SourceIP:      event.SourceIP,
		UserAgent:     event.UserAgent,
	})
}

// recorded returns the span that published an event whose message has no W3C traceparent header: the
// envelope's, which has no flags; somebody recorded those ids, so the trace is taken for sampled.
func recorded(event *envelopes.Metadata) trace.SpanContext {
	traceID, err := trace.TraceIDFromHex(event.TraceID)
	if err != nil {
		return trace.SpanContext{}
	}
	spanID, err := trace.SpanIDFromHex(event.SpanID)
	if err != nil {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled, Remote: true,
	})
}
