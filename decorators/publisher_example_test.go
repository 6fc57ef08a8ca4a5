package decorators_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/decorators"
)

// printer is a publisher of an application that does not use a Bus.
type printer struct{}

func (printer) Publish(topic string, msgs ...*message.Message) error {
	for _, msg := range msgs {
		fmt.Println(topic, msg.UUID, string(msg.Payload), msg.Metadata)
	}
	return nil
}

func (printer) Close() error { return nil }

func ExamplePublisherCorrelation() {
	publisher, err := decorators.PublisherCorrelation()(printer{})
	if err != nil {
		panic(err)
	}
	ctx := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "req-7"})
	err = publisher.Publish("orders",
		message.NewMessageWithContext(ctx, "m-1", []byte(`{}`)),
		message.NewMessage("m-2", []byte(`{}`))) // the first of its chain
	fmt.Println(err)
	// Output:
	// orders m-1 {} map[correlation_id:req-7]
	// orders m-2 {} map[correlation_id:m-2]
	// <nil>
}

// In a router the first decorator is the innermost.
func ExamplePublisherTracing() {
	publisher, err := decorators.PublisherTracing(decorators.PublisherTracingConfig{
		Tracer: noop.NewTracerProvider(), // left out, OpenTelemetry's global one makes the spans
	})(printer{})
	if err != nil {
		panic(err)
	}
	ctx := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0x4b}, SpanID: trace.SpanID{0x01}, TraceFlags: trace.FlagsSampled,
	}))
	fmt.Println(publisher.Publish("orders", message.NewMessageWithContext(ctx, "m-1", []byte(`{}`))))
	// Output:
	// orders m-1 {} map[traceparent:00-4b000000000000000000000000000000-0100000000000000-01]
	// <nil>
}

func ExamplePublisherMetrics() {
	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer
	publisher, err := decorators.PublisherMetrics(registry)(printer{})
	if err != nil {
		panic(err)
	}
	fmt.Println(publisher.Publish("orders", message.NewMessage("m-1", []byte(`{}`))))
	families, err := registry.Gather()
	fmt.Println(families[0].GetName(), families[0].GetMetric()[0].GetCounter().GetValue(), err)
	// Output:
	// orders m-1 {} map[]
	// <nil>
	// tailrace_publisher_messages_total 1 <nil>
}

func ExamplePublisherValidation() {
	publisher, err := decorators.PublisherValidation(decorators.PublisherValidationConfig{})(printer{})
	if err != nil {
		panic(err)
	}
	fmt.Println(publisher.Publish("new orders", message.NewMessage("", []byte(`{}`))))
	// Output:
	// decorators: nothing was published: a message would be refused: topics: topic "new orders" has ' ' at position 4: Kafka allows letters, digits, '.', '_' and '-'
	// message 1 of 1: its UUID is empty, and consumers know it by that: give it one, for instance watermill.NewUUID()
}

func ExamplePublisherRedaction() {
	publisher, err := decorators.PublisherRedaction(decorators.PublisherRedactionConfig{})(printer{})
	if err != nil {
		panic(err)
	}
	fmt.Println(publisher.Publish("logins", message.NewMessage("m-1", []byte(`{"user":"ada","password":"hunter2"}`))))
	// Output:
	// logins m-1 {"user":"ada","password":"[redacted]"} map[]
	// <nil>
}
