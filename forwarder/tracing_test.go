package forwarder_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/forwarder"
)

const traceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func attributesOf(span sdktrace.ReadOnlySpan) map[attribute.Key]string {
	values := map[attribute.Key]string{}
	for _, one := range span.Attributes() {
		values[one.Key] = fmt.Sprint(one.Value.AsInterface())
	}
	return values
}

func TestSendSpans(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "one", 1, nil)
	b.broker.CreateTopic(t, "many", 1, nil)
	b.broker.CreateTopic(t, "dead", 1, nil)
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	drain := func(topic string) []sdktrace.ReadOnlySpan {
		f := b.forwarder(func(c *forwarder.Config) { c.Tracer = provider })
		recorder.Reset()
		_ = f.Drain(t.Context())
		for _, span := range recorder.Ended() {
			require.Equal(t, "send "+topic, span.Name())
			require.Equal(t, trace.SpanKindClient, span.SpanKind())
			require.False(t, span.EndTime().Before(span.StartTime()))
			require.Equal(t, "send", attributesOf(span)["messaging.operation.name"])
			require.Equal(t, topic, attributesOf(span)["messaging.destination.name"])
		}
		return recorder.Ended()
	}
	write := func(topic, id, headers string) {
		b.exec(`INSERT INTO event_outbox (event_id, topic, payload, key, headers) VALUES ($1, $2, 'p', 'k', $3)`, id, topic, headers)
	}

	t.Run("one event: in its trace", func(t *testing.T) {
		write("one", "event-1", `{"traceparent": "`+traceParent+`", "tracestate": "vendor=1", "correlation_id": "c-1"}`)
		spans := drain("one")
		require.Len(t, spans, 1)
		require.Equal(t, "b7ad6b7169203331", spans[0].Parent().SpanID().String())
		require.Equal(t, "vendor=1", spans[0].Parent().TraceState().String())
		require.Len(t, spans[0].Links(), 1)
		got := attributesOf(spans[0])
		require.Equal(t, "event-1", got["messaging.message.id"])
		require.Equal(t, "k", got["messaging.kafka.message.key"])
		require.Equal(t, "c-1", got["messaging.message.conversation_id"])
		require.Equal(t, "0", got["messaging.destination.partition.id"])
		require.Equal(t, "0", got["messaging.kafka.offset"])
		require.NotContains(t, got, attribute.Key("messaging.batch.message_count"))
	})

	t.Run("a batch: a trace of its own, with links to the sampled ones", func(t *testing.T) {
		for i := range 150 {
			write("many", fmt.Sprintf("m-%d", i), fmt.Sprintf(`{"traceparent": "00-%032x-b7ad6b7169203331-01"}`, i+1))
			write("many", fmt.Sprintf("unsampled-%d", i), `{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}`)
			write("many", fmt.Sprintf("untraced-%d", i), `{}`)
		}
		events := 0
		for _, span := range drain("many") {
			require.False(t, span.Parent().IsValid())
			require.LessOrEqual(t, len(span.Links()), 128)
			require.NotEmpty(t, span.Links())
			n := 0
			_, err := fmt.Sscan(attributesOf(span)["messaging.batch.message_count"], &n)
			require.NoError(t, err)
			events += n
		}
		require.Equal(t, 450, events)
	})

	t.Run("a topic that is not there: an error", func(t *testing.T) {
		write("none", "event-2", `{"traceparent": "`+traceParent+`"}`)
		spans := drain("none")
		require.NotEmpty(t, spans)
		require.Equal(t, codes.Error, spans[0].Status().Code)
		require.Equal(t, "topic", attributesOf(spans[0])["error.type"])
	})
}
