package consumer_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// republish handles the message under a chain of middlewares and returns the metadata of an event that
// its handler publishes through a Bus, without saying anything about it.
func republish(t *testing.T, msg *message.Message, chain ...message.HandlerMiddleware) envelopes.Metadata {
	t.Helper()
	out := newOutlet()
	b, err := bus.New(bus.Config{Service: "consumer", Publisher: out, Topics: topics.Naming{Prefix: "p"}})
	require.NoError(t, err)
	handler := func(msg *message.Message) ([]*message.Message, error) {
		_, err := b.PublishCustom(msg.Context(), envelopes.Custom{Topic: "t", EventType: "consequence"})
		return nil, err
	}
	_, err = chained(handler, chain...)(msg)
	require.NoError(t, err)
	decoded, err := envelopes.Decode(out.all()[0].Payload)
	require.NoError(t, err)
	return decoded.Metadata
}

func TestCorrelationContinuesTheEventsChain(t *testing.T) {
	t.Parallel()
	got := republish(t, wire(t, "audit"), consumer.Correlation)
	require.Equal(t, "req-7f3a", got.CorrelationID)
	require.Equal(t, "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a01", got.CausationID, "the handled event is the cause")
	require.Equal(t, "admin-1", got.UserID)
	require.Equal(t, "203.0.113.7", got.SourceIP)
	require.Equal(t, "curl/8.5.0", got.UserAgent)
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", got.TraceID)
	require.Equal(t, "00f067aa0ba902b7", got.SpanID)
	require.Equal(t, "consumer", got.ServiceName)
	require.NotEqual(t, got.CausationID, got.EventID)
}

func TestCorrelationReachesTypedHandlersWithoutTheChain(t *testing.T) {
	t.Parallel()
	var inherited bus.Metadata
	handle := consumer.Custom(func(ctx context.Context, _ json.RawMessage, _ consumer.Meta) error {
		inherited = bus.MetadataFrom(ctx)
		return nil
	})
	require.NoError(t, handle(wire(t, "custom")))
	require.Equal(t, "req-7f3a", inherited.CorrelationID)
	require.Equal(t, "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a04", inherited.CausationID)
}

func TestCorrelationOfMessagesThatSayLess(t *testing.T) {
	t.Parallel()
	first := envelope("x", "{}")
	got := republish(t, first, consumer.Correlation)
	require.Equal(t, "e-1", got.CorrelationID, "an event without one starts a chain")
	require.Equal(t, "e-1", got.CausationID)

	foreign := message.NewMessage("uuid-1", []byte("no envelope"))
	foreign.Metadata.Set("correlation_id", "c-9")
	foreign.Metadata.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	got = republish(t, foreign, consumer.Correlation)
	require.Equal(t, "c-9", got.CorrelationID)
	require.Equal(t, "uuid-1", got.CausationID)
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", got.TraceID)

	foreign.Metadata.Set(envelopes.HeaderID, "ce-1")
	require.Equal(t, "ce-1", republish(t, foreign, consumer.Correlation).CausationID)
}

func TestCorrelationLeavesASpanThatIsThereAlone(t *testing.T) {
	t.Parallel()
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	msg := wire(t, "audit")
	msg.SetContext(trace.ContextWithSpanContext(t.Context(), span))
	require.Equal(t, span.TraceID().String(), republish(t, msg, consumer.Correlation).TraceID)
}

func TestCorrelationOfReturnedMessages(t *testing.T) {
	t.Parallel()
	own := message.NewMessage("2", nil)
	own.Metadata.Set("correlation_id", "its own")
	bare := &message.Message{UUID: "3"} // a literal has no metadata map
	consumed := envelope("x", "{}")
	handler := func(msg *message.Message) ([]*message.Message, error) {
		return message.Messages{message.NewMessage("1", nil), own, bare, msg}, nil
	}
	produced, err := consumer.Correlation(handler)(consumed)
	require.NoError(t, err)
	require.Equal(t, "e-1", produced[0].Metadata.Get("correlation_id"))
	require.Equal(t, "its own", produced[1].Metadata.Get("correlation_id"))
	require.Equal(t, "e-1", produced[2].Metadata.Get("correlation_id"))
	require.Empty(t, consumed.Metadata, "what was consumed stays as it was")
}

func TestEventIDIsTheEnvelopesThenTheHeadersThenTheMessages(t *testing.T) {
	t.Parallel()
	msg := wire(t, "domain")
	envelope, err := envelopes.Decode(msg.Payload)
	require.NoError(t, err)
	msg.Metadata.Set(envelopes.HeaderID, "header")
	require.Equal(t, envelope.Metadata.EventID, consumer.EventID(msg))
	msg.Payload = []byte("junk")
	require.Equal(t, "header", consumer.EventID(msg))
	require.Equal(t, "uuid", consumer.EventID(message.NewMessage("uuid", nil)))
	require.Empty(t, consumer.EventID(message.NewMessage("", nil)))
}
