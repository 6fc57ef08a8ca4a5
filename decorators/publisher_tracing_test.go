package decorators_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/decorators"
)

const (
	elsewhere = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	broken    = "00-4bf92f3577b34da6a3ce929d0e0e4736"
)

var ambient = trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})

func traceParent(sc trace.SpanContext) string {
	return "00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-" + sc.TraceFlags().String()
}

func inSpan(uuid, parent string) *message.Message {
	msg := message.NewMessageWithContext(trace.ContextWithSpanContext(context.Background(), ambient), uuid, nil)
	msg.Metadata.Set(delivery.KeyMetadata, "k")
	msg.Metadata.Set("correlation_id", "req-7")
	if parent != "" {
		msg.Metadata.Set("traceparent", parent)
		msg.Metadata.Set("tracestate", "vendor=7")
	}
	return msg
}

func traced(t testing.TB, k *keeper, system string) (message.Publisher, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	return decorated(t, k, decorators.PublisherTracing(decorators.PublisherTracingConfig{
		Tracer: sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)), System: system,
	})), recorder
}

func described(span sdk.ReadOnlySpan) map[string]any {
	all := map[string]any{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

func TestATracedPublisherSendsOneMessage(t *testing.T) {
	t.Parallel()
	for what, parent := range map[string]string{"made here": "", "whose trace cannot be read": broken} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			k := &keeper{}
			p, recorder := traced(t, k, "")
			require.NoError(t, p.Publish("orders", inSpan("m-1", parent)))
			require.Len(t, recorder.Ended(), 1)
			span := recorder.Ended()[0]
			require.Equal(t, "send orders", span.Name())
			require.Equal(t, trace.SpanKindProducer, span.SpanKind())
			require.Equal(t, ambient, span.Parent())
			require.Empty(t, span.Links())
			require.Equal(t, "github.com/tailrace-go/tailrace/decorators", span.InstrumentationScope().Name)
			require.Equal(t, map[string]any{
				"messaging.system": "kafka", "messaging.operation.name": "send", "messaging.operation.type": "send",
				"messaging.destination.name": "orders", "messaging.message.id": "m-1",
				"messaging.kafka.message.key": "k", "messaging.message.conversation_id": "req-7",
			}, described(span))
			require.Equal(t, traceParent(span.SpanContext()), k.calls[0][0].Metadata["traceparent"])
			require.NotContains(t, k.calls[0][0].Metadata, "tracestate", "that is of the other trace")
			require.Equal(t, span.SpanContext(), trace.SpanContextFromContext(k.calls[0][0].Context()))
		})
	}
	t.Run("made elsewhere", func(t *testing.T) {
		t.Parallel()
		k := &keeper{}
		p, recorder := traced(t, k, "rabbitmq")
		require.NoError(t, p.Publish("orders", inSpan("m-1", elsewhere)))
		span := recorder.Ended()[0]
		require.Equal(t, trace.SpanKindClient, span.SpanKind())
		require.Equal(t, elsewhere, traceParent(span.Links()[0].SpanContext))
		require.Equal(t, "rabbitmq", described(span)["messaging.system"])
		require.NotContains(t, described(span), "messaging.kafka.message.key")
		require.Equal(t, elsewhere, k.calls[0][0].Metadata["traceparent"])
		require.Equal(t, "vendor=7", k.calls[0][0].Metadata["tracestate"])
	})
}

func TestATracedPublisherSendsSeveralMessages(t *testing.T) {
	t.Parallel()
	k := &keeper{fail: errors.New("broken")}
	p, recorder := traced(t, k, "")
	require.Error(t, p.Publish("orders", inSpan("m-1", ""), inSpan("m-2", elsewhere), inSpan("m-3", "")))
	spans := recorder.Started()
	require.Len(t, spans, 3)
	require.Len(t, recorder.Ended(), 3)
	for i, span := range spans[:2] {
		require.Equal(t, "create orders", span.Name())
		require.Equal(t, trace.SpanKindProducer, span.SpanKind())
		require.Equal(t, []string{"m-1", "m-3"}[i], described(span)["messaging.message.id"])
		require.Equal(t, codes.Unset, span.Status().Code)
		require.Equal(t, traceParent(span.SpanContext()), k.calls[0][2*i].Metadata["traceparent"])
	}
	send := spans[2]
	require.Equal(t, "send orders", send.Name())
	require.Equal(t, trace.SpanKindClient, send.SpanKind())
	require.Equal(t, ambient, send.Parent())
	require.EqualValues(t, 3, described(send)["messaging.batch.message_count"])
	require.Equal(t, "_OTHER", described(send)["error.type"])
	require.Equal(t, sdk.Status{Code: codes.Error, Description: "broken"}, send.Status())
	require.Len(t, send.Links(), 3)
	require.Equal(t, elsewhere, traceParent(send.Links()[1].SpanContext))
	require.Contains(t, send.Links()[2].Attributes, attribute.String("messaging.message.id", "m-3"))
	require.Equal(t, elsewhere, k.calls[0][1].Metadata["traceparent"])
	for _, msg := range k.calls[0] {
		require.Equal(t, send.SpanContext(), trace.SpanContextFromContext(msg.Context()))
	}
}

func TestATracedPublisherThatPanics(t *testing.T) {
	t.Parallel()
	for _, msgs := range [][]*message.Message{{inSpan("1", "")}, {inSpan("1", elsewhere)}, {inSpan("1", ""), inSpan("2", "")}} {
		recorder := tracetest.NewSpanRecorder()
		p, err := decorators.PublisherTracing(decorators.PublisherTracingConfig{Tracer: sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))})(panicking{})
		require.NoError(t, err)
		require.PanicsWithValue(t, "boom", func() { _ = p.Publish("orders", msgs...) })
		require.Len(t, recorder.Ended(), len(recorder.Started()))
		last := recorder.Ended()[len(recorder.Ended())-1]
		require.Equal(t, "panic", described(last)["error.type"])
	}
}

type panicking struct{ message.Publisher }

func (panicking) Publish(string, ...*message.Message) error { panic("boom") }

func TestATracedPublisherWithoutAnSDK(t *testing.T) {
	t.Parallel()
	k := &keeper{}
	p := decorated(t, k, decorators.PublisherTracing(decorators.PublisherTracingConfig{Tracer: noop.NewTracerProvider()}))
	foreign := inSpan("m-2", elsewhere)
	loose := message.NewMessage("m-3", nil)
	require.NoError(t, p.Publish("orders", inSpan("m-1", ""), foreign, loose))
	require.Equal(t, traceParent(ambient), k.calls[0][0].Metadata["traceparent"], "the caller's span flows")
	require.Same(t, foreign, k.calls[0][1])
	require.Same(t, loose, k.calls[0][2])
}
