package consumer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/delivery"
)

const (
	traceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	publishedBy = "b7ad6b7169203331"
	traceID     = "0af7651916cd43dd8448eb211c80319c"
)

func recorded(t *testing.T) (trace.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider, recorder
}

// fromKafka is a message as bus/kafka's subscriber delivers it.
func fromKafka(t *testing.T) *message.Message {
	t.Helper()
	msg := wire(t, "domain")
	msg.Metadata = message.Metadata{
		"traceparent": traceParent, "correlation_id": "c-1", "ce_id": "event-1", delivery.KeyMetadata: "user-123",
	}
	msg.SetContext(delivery.WithOrigin(t.Context(), delivery.Origin{Topic: "users", Partition: 3, Offset: 42, Group: "mailer"}))
	return msg
}

func attributesOf(of []attribute.KeyValue) map[string]any {
	values := map[string]any{}
	for _, one := range of {
		values[string(one.Key)] = one.Value.AsInterface()
	}
	return values
}

func TestProcessSpan(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		handle  func(attempt int) error
		outcome consumer.Outcome
		attempt int64
		failure string // error.type
	}{
		{"handled at once", func(int) error { return nil }, consumer.Handled, 1, ""},
		{"handled in the end", func(attempt int) error {
			if attempt < 3 {
				return errBoom
			}
			return nil
		}, consumer.Handled, 3, ""},
		{"given up", func(int) error { return consumer.Permanent(errBoom) }, consumer.DeadLettered, 1, "consumer.marked"},
		{"kept for an outage", func(int) error { return consumer.Outage(errBoom) }, consumer.Kept, 4, "consumer.marked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			provider, recorder := recorded(t)
			config := quick(newOutlet())
			config.Tracer = provider
			var inside trace.SpanContext
			handler := chained(func(msg *message.Message) ([]*message.Message, error) {
				inside = trace.SpanContextFromContext(msg.Context())
				return nil, test.handle(consumer.Attempt(msg.Context()))
			}, mustChain(t, config)...)
			_, err := handler(fromKafka(t))
			require.Equal(t, test.outcome == consumer.Kept, err != nil)

			spans := recorder.Ended()
			require.Len(t, spans, 1, "one span a delivery, however many attempts")
			span := spans[0]
			require.Equal(t, span.SpanContext(), inside, "what the handler publishes is its child")
			require.Equal(t, trace.SpanKindConsumer, span.SpanKind())
			require.Equal(t, traceID, span.SpanContext().TraceID().String())
			require.Equal(t, publishedBy, span.Parent().SpanID().String())
			require.Len(t, span.Links(), 1)
			require.Equal(t, publishedBy, span.Links()[0].SpanContext.SpanID().String())
			got := attributesOf(span.Attributes())
			require.Equal(t, string(test.outcome), got["tailrace.outcome"])
			require.Equal(t, test.attempt, got["tailrace.attempts"])
			failed := test.attempt
			if test.failure == "" {
				require.NotContains(t, got, "error.type")
				require.Equal(t, codes.Unset, span.Status().Code)
				failed--
			} else {
				require.Contains(t, got["error.type"], "marked")
				require.Equal(t, codes.Error, span.Status().Code)
			}
			require.Len(t, span.Events(), int(failed), "an event for each attempt that failed")
			for name, want := range map[string]any{
				"messaging.system": "kafka", "messaging.operation.name": "process", "messaging.operation.type": "process",
				"messaging.message.id": "event-1", "messaging.kafka.message.key": "user-123", "messaging.message.conversation_id": "c-1",
				"messaging.consumer.group.name": "mailer", "messaging.destination.partition.id": "3", "messaging.kafka.offset": int64(42),
			} {
				require.Equal(t, want, got[name], name)
			}
			for name, value := range got {
				require.NotContains(t, fmt.Sprint(value), "ada@", name)
			}
		})
	}
}

func TestProcessSpanTakesItsParentFromWhatIsThere(t *testing.T) {
	t.Parallel()
	provider, recorder := recorded(t)
	traced := consumer.Tracing(provider)(func(*message.Message) ([]*message.Message, error) { return nil, nil })

	t.Run("the envelope, where an old publisher sent no header", func(t *testing.T) {
		msg := envelope("x", "{}")
		msg.Payload = []byte(`{"metadata": {"event_id": "e-1", "timestamp": "2026-03-01T10:00:00Z", "service_name": "s", "service_version": "1",
			"trace_id": "` + traceID + `", "span_id": "` + publishedBy + `"}, "event_type": "x", "payload": {}}`)
		_, err := traced(msg)
		require.NoError(t, err)
		require.Equal(t, publishedBy, last(recorder).Parent().SpanID().String())
	})
	t.Run("a span of somebody else, with a link", func(t *testing.T) {
		msg := fromKafka(t)
		ctx, outer := provider.Tracer("test").Start(msg.Context(), "poll")
		defer outer.End()
		msg.SetContext(ctx)
		_, err := traced(msg)
		require.NoError(t, err)
		require.Equal(t, outer.SpanContext().SpanID(), last(recorder).Parent().SpanID())
		require.Equal(t, publishedBy, last(recorder).Links()[0].SpanContext.SpanID().String())
		require.Equal(t, ctx, msg.Context(), "the message has its own context again")
	})
	t.Run("nothing", func(t *testing.T) {
		_, err := traced(message.NewMessage("1", []byte("no event")))
		require.NoError(t, err)
		require.False(t, last(recorder).Parent().IsValid())
		require.Empty(t, last(recorder).Links())
	})
}

func last(recorder *tracetest.SpanRecorder) sdktrace.ReadOnlySpan {
	spans := recorder.Ended()
	return spans[len(spans)-1]
}

// Whatever the provider, an event published under the handler's context is in the trace.
func TestWhatAHandlerPublishesContinuesTheTrace(t *testing.T) {
	t.Parallel()
	recording, _ := recorded(t)
	for name, change := range map[string]func(*consumer.Config){
		"recorded":         func(c *consumer.Config) { c.Tracer = recording },
		"no-op provider":   func(c *consumer.Config) { c.Tracer = noop.NewTracerProvider() },
		"nobody's":         func(*consumer.Config) {},
		"no spans, please": func(c *consumer.Config) { c.NoTracing = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := newOutlet()
			events, err := bus.New(bus.Config{Service: "users", Publisher: out})
			require.NoError(t, err)
			config := quick(newOutlet())
			change(&config)
			handler := chained(func(msg *message.Message) ([]*message.Message, error) {
				_, err := userCreated.Publish(msg.Context(), events, "user-2", user{})
				return []*message.Message{message.NewMessage("returned", nil)}, err
			}, mustChain(t, config)...)
			returned, err := handler(fromKafka(t))
			require.NoError(t, err)
			require.Contains(t, out.all()[0].Metadata["traceparent"], traceID)
			if name == "recorded" {
				require.Contains(t, returned[0].Metadata["traceparent"], traceID, "what it returns, too")
				require.NotContains(t, returned[0].Metadata["traceparent"], publishedBy)
			}
		})
	}
}

func TestASpanEndsWhenTheHandlerPanics(t *testing.T) {
	t.Parallel()
	provider, recorder := recorded(t)
	traced := consumer.Tracing(provider)(panicking("boom"))
	require.Panics(t, func() { _, _ = traced(fromKafka(t)) })
	require.Len(t, recorder.Ended(), 1)
	require.Equal(t, codes.Error, last(recorder).Status().Code)
}
