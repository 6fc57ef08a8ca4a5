package bus_test

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/envelopes"
)

// What is published is traced with the provider that the application has: the span's ids are in the event and
// go with it to its consumers.
func ExampleConfig_tracing() {
	spans := tracetest.NewInMemoryExporter() // an application exports them with OTLP
	published := &bustest.Recorder{}
	b, err := bus.New(bus.Config{
		Service: "user-service", Publisher: published,
		Tracer: sdk.NewTracerProvider(sdk.WithSyncer(spans)), // left out, the global one
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = b.PublishAudit(context.Background(), envelopes.Audit{EventType: envelopes.UserLogin, Action: "login", ResourceType: "session"})
	span := spans.GetSpans()[0]
	fmt.Println(span.Name, span.SpanKind, err)
	fmt.Println(published.Events()[0].Envelope.Metadata.SpanID == span.SpanContext.SpanID().String())
	// Output:
	// send audit.events producer <nil>
	// true
}

// Metrics are counted on the Registerer given.
func ExampleConfig_metrics() {
	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer
	b, err := bus.New(bus.Config{Service: "user-service", Publisher: &bustest.Recorder{}, Metrics: registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = b.PublishAudit(context.Background(), envelopes.Audit{EventType: envelopes.UserLogin, Action: "login"})
	fmt.Println(err != nil)
	families, err := registry.Gather()
	for _, metric := range families[0].GetMetric() {
		fmt.Println(families[0].GetName(), metric.GetCounter().GetValue(), err)
		for _, label := range metric.GetLabel() {
			fmt.Println(label.GetName(), label.GetValue())
		}
	}
	// Output:
	// true
	// tailrace_bus_events_total 1 <nil>
	// kind audit
	// outcome invalid
	// topic audit.events
	// way direct
}
