package bus_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/topics"
)

// telemetries are the ways to tell what is published, from none to all.
var telemetries = []struct {
	name   string
	change func(*bus.Config)
}{
	{"off", func(c *bus.Config) { c.NoTracing = true }},
	{"noop", func(c *bus.Config) { c.Tracer = noop.NewTracerProvider() }},
	{"no-SDK", func(c *bus.Config) { c.Tracer = disguised{noop.NewTracerProvider()} }},
	{"spans", func(c *bus.Config) { c.Tracer = exporting() }},
	{"metrics", func(c *bus.Config) { c.NoTracing, c.Metrics = true, prometheus.NewRegistry() }},
	{"both", func(c *bus.Config) { c.Tracer, c.Metrics = exporting(), prometheus.NewRegistry() }},
}

// exporting is a provider as a service has it: every span is sampled and exported in batches, here to nowhere.
func exporting() trace.TracerProvider { return sdk.NewTracerProvider(sdk.WithBatcher(nowhere{})) }

type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                        { return nil }

type drain struct{}

func (drain) Publish(string, ...*message.Message) error { return nil }
func (drain) Close() error                              { return nil }

// told returns a Bus for each of the telemetries.
func told(t testing.TB, config bus.Config) []*bus.Bus {
	t.Helper()
	all := make([]*bus.Bus, 0, len(telemetries))
	for _, telemetry := range telemetries {
		c := config
		c.Service, c.Topics = "user-service", topics.Naming{Prefix: "marty"}
		telemetry.change(&c)
		b, err := bus.New(c)
		require.NoError(t, err)
		all = append(all, b)
	}
	return all
}

// inRequest is the context of a request that is traced.
func inRequest() context.Context {
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	return trace.ContextWithSpanContext(bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "req-7"}), span)
}

// BenchmarkTelemetry is what telling of PublishDomain costs: the ways in turns, so that what else the
// machine does falls on all alike, and the median, so that its pauses fall on none. Direct is to a publisher that does nothing, outbox a committed row in a real
// database.
func BenchmarkTelemetry(b *testing.B) {
	for name, config := range map[string]func(*testing.B) bus.Config{
		"direct": func(*testing.B) bus.Config { return bus.Config{Publisher: drain{}} },
		"outbox": func(b *testing.B) bus.Config {
			b.Helper()
			db, _ := bustest.Postgres(b)
			_, err := outbox.Migrate(context.Background(), db, outbox.MigrateConfig{})
			require.NoError(b, err)
			return bus.Config{DB: db}
		},
	} {
		b.Run(name, func(b *testing.B) {
			buses, ctx, event := told(b, config(b)), inRequest(), userCreated("u-1")
			publish := func(i int) {
				if _, err := buses[i].PublishDomain(ctx, event); err != nil {
					b.Fatal(err)
				}
			}
			const chunk = 20
			took := make([][]time.Duration, len(buses))
			for b.Loop() {
				for i := range buses {
					start := time.Now()
					for range chunk {
						publish(i)
					}
					took[i] = append(took[i], time.Since(start)/chunk)
				}
			}
			for i, telemetry := range telemetries {
				slices.Sort(took[i])
				b.ReportMetric(float64(took[i][len(took[i])/2].Nanoseconds()), telemetry.name+"-ns")
				b.ReportMetric(testing.AllocsPerRun(100, func() { publish(i) }), telemetry.name+"-allocs")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func TestTelemetryThatIsOffAllocatesNothing(t *testing.T) {
	// What a publish takes without any: the message and its metadata most of it, two channels, a map of ten,
	// its strings.
	const most = 22
	buses, ctx, event := told(t, bus.Config{Publisher: drain{}}), inRequest(), userCreated("u-1")
	allocs := map[string]float64{}
	for i, b := range buses {
		allocs[telemetries[i].name] = testing.AllocsPerRun(500, func() {
			if _, err := b.PublishDomain(ctx, event); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Log(allocs)
	require.LessOrEqual(t, allocs["off"], float64(most))
	require.LessOrEqual(t, allocs["metrics"], allocs["off"], "counting allocates nothing, even when it is on")
	// The trace's ids as text, three strings, are the event's, not the span's.
	require.LessOrEqual(t, allocs["noop"], float64(most+3))
	require.LessOrEqual(t, allocs["no-SDK"], float64(most+4))
}
