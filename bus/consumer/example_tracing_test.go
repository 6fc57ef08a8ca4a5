package consumer_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tailrace-go/tailrace/bus/consumer"
)

// Tracing and metrics are part of the chain.
func ExampleConfig_observability() {
	_ = consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: pubsub()},
		Metrics:    prometheus.DefaultRegisterer,
		Tracer:     nil, // OpenTelemetry's global provider
	}
	// Output:
}

// Tracing alone continues the trace of whoever published the message.
func ExampleTracing() {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	traced := consumer.Tracing(provider)(func(*message.Message) ([]*message.Message, error) { return nil, nil })

	msg := message.NewMessage("1", nil)
	msg.Metadata.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	_, _ = traced(msg)

	span := spans.GetSpans()[0]
	fmt.Println(span.SpanKind, span.SpanContext.TraceID(), "child of", span.Parent.SpanID())
	// Output: consumer 0af7651916cd43dd8448eb211c80319c child of b7ad6b7169203331
}

// Metrics alone, around any handlers of a router.
func ExampleMetrics() {
	counted, err := consumer.Metrics(prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	router := message.NewDefaultRouter(watermill.NopLogger{})
	router.AddMiddleware(counted)
	fmt.Println(err)
	// Output: <nil>
}

// A middleware that acks messages for a reason of its own says so.
func ExampleNote() {
	registry := prometheus.NewRegistry()
	counted, _ := consumer.Metrics(registry)
	seen := counted(func(msg *message.Message) ([]*message.Message, error) {
		consumer.Note(msg.Context(), consumer.Duplicate)
		return nil, nil
	})
	msg := message.NewMessage("1", nil)
	msg.SetContext(context.Background())
	_, _ = seen(msg)

	families, _ := registry.Gather()
	for _, series := range families[1].GetMetric() {
		if series.GetCounter().GetValue() > 0 {
			fmt.Println(series.GetLabel()[1].GetValue(), series.GetCounter().GetValue())
		}
	}
	// Output: duplicate 1
}
