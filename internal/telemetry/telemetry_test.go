package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tailrace-go/tailrace/internal/telemetry"
)

func recorded() (*tracetest.SpanRecorder, *trace.TracerProvider) {
	recorder := tracetest.NewSpanRecorder()
	return recorder, trace.NewTracerProvider(trace.WithSpanProcessor(recorder))
}

func TestASpanStartsWithWhatASamplerAsksFor(t *testing.T) {
	t.Parallel()
	recorder, provider := recorded()
	spans := telemetry.NewSpans(provider, "example.org/scope")
	for _, c := range []struct {
		operation telemetry.Operation
		name      string
		kind      api.SpanKind
	}{
		{telemetry.Create, "create", api.SpanKindProducer},
		{telemetry.Send, "send", api.SpanKindProducer},
		{telemetry.SendCreated, "send", api.SpanKindClient},
		{telemetry.Process, "process", api.SpanKindConsumer},
	} {
		_, span := spans.Start(context.Background(), c.operation, "orders")
		got := span.(trace.ReadOnlySpan)
		require.Equal(t, c.name+" orders", got.Name())
		require.Equal(t, c.kind, got.SpanKind())
		require.Equal(t, map[attribute.Key]string{
			"messaging.system": "kafka", "messaging.destination.name": "orders",
			"messaging.operation.name": c.name, "messaging.operation.type": c.name,
		}, texts(got.Attributes()))
		require.Equal(t, "example.org/scope", got.InstrumentationScope().Name)
		require.Equal(t, "https://opentelemetry.io/schemas/1.43.0", got.InstrumentationScope().SchemaURL)
		span.End()
	}
	require.Len(t, recorder.Ended(), 4)
}

func TestWhatIsSaidOfAMessage(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		key, correlation string
		want             map[attribute.Key]string
	}{
		"all": {"k", "c", map[attribute.Key]string{
			"messaging.message.id": "id", "messaging.kafka.message.key": "k", "messaging.message.conversation_id": "c",
		}},
		"a null key is absent":       {"", "", map[attribute.Key]string{"messaging.message.id": "id"}},
		"a key that is a document":   {strings.Repeat("k", 257), "", map[attribute.Key]string{"messaging.message.id": "id"}},
		"a key that is not text":     {"\xff", "", map[attribute.Key]string{"messaging.message.id": "id"}},
		"a correlation id not text":  {"", "\xff", map[attribute.Key]string{"messaging.message.id": "id"}},
		"a correlation id that long": {"", strings.Repeat("c", 257), map[attribute.Key]string{"messaging.message.id": "id"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, provider := recorded()
			_, span := provider.Tracer("").Start(context.Background(), "")
			defer span.End()
			telemetry.Describe(span, "id", c.key, c.correlation)
			require.Equal(t, c.want, texts(span.(trace.ReadOnlySpan).Attributes()))
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		err  error
		want string
	}{
		"canceled":            {fmt.Errorf("bus: %w", context.Canceled), "canceled"},
		"too late":            {errors.Join(errors.New("x"), context.DeadlineExceeded), "deadline_exceeded"},
		"a type inside":       {fmt.Errorf("bus: %w", fmt.Errorf("a: %w, %w", errors.New("x"), &pq.Error{})), "*pq.Error"},
		"a value's type":      {fmt.Errorf("a: %w", errors.Join(errors.New("x"), attributeless{})), "telemetry_test.attributeless"},
		"nothing but a text":  {fmt.Errorf("a: %w", sql.ErrNoRows), "_OTHER"},
		"a wrapper that lies": {empty{}, "telemetry_test.empty"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, telemetry.ErrorType(c.err))
		})
	}
	require.Empty(t, telemetry.ErrorType(nil))
	_, provider := recorded()
	_, span := provider.Tracer("").Start(context.Background(), "")
	defer span.End()
	telemetry.Fail(span, nil, "")
	require.Equal(t, codes.Unset, span.(trace.ReadOnlySpan).Status().Code)
	telemetry.End(span, errors.New("broken"), "duplicate")
	require.Equal(t, trace.Status{Code: codes.Error, Description: "broken"}, span.(trace.ReadOnlySpan).Status())
	require.Equal(t, "duplicate", texts(span.(trace.ReadOnlySpan).Attributes())["error.type"])
}

func TestTheTraceContextOfAMessage(t *testing.T) {
	t.Parallel()
	state, err := api.ParseTraceState("vendor=1")
	require.NoError(t, err)
	sc := api.NewSpanContext(api.SpanContextConfig{TraceID: api.TraceID{1}, SpanID: api.SpanID{2}, TraceFlags: api.FlagsSampled, TraceState: state})
	metadata := message.Metadata{}
	telemetry.Inject(metadata, api.SpanContext{})
	require.Empty(t, metadata)
	require.False(t, telemetry.Extract(nil).IsValid())
	telemetry.Inject(metadata, sc)
	require.Equal(t, message.Metadata{"traceparent": "00-01000000000000000000000000000000-0200000000000000-01", "tracestate": "vendor=1"}, metadata)
	require.True(t, telemetry.Extract(metadata).Equal(sc.WithRemote(true)))
	require.False(t, telemetry.Extract(message.Metadata{"traceparent": "00-zz"}).IsValid())
}

func TestLabelsAreBounded(t *testing.T) {
	var labels telemetry.Labels
	done := make(chan struct{})
	for range 4 {
		go func() {
			for i := range 200 {
				labels.Of(fmt.Sprint(i))
			}
			done <- struct{}{}
		}()
	}
	for range 4 {
		<-done
	}
	require.Equal(t, "199", labels.Of("199"))
	require.Equal(t, "other", labels.Of("200"))
	var fresh telemetry.Labels
	for range 2 { // a collector panics at a value that is not text
		require.Equal(t, "other", fresh.Of("caf\xe9"))
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { labels.Of("7") }))
}

func TestOneOfAKindOnARegisterer(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	two := func() telemetry.Collectors {
		return telemetry.Collectors{prometheus.NewGauge(prometheus.GaugeOpts{Name: "a", Help: "A."}), prometheus.NewGauge(prometheus.GaugeOpts{Name: "b", Help: "B."})}
	}
	wrapped := prometheus.WrapRegistererWith(prometheus.Labels{"shard": "1"}, prometheus.NewRegistry())
	for _, r := range []prometheus.Registerer{registry, wrapped} {
		first, err := telemetry.Register(r, &pair{two()})
		require.NoError(t, err)
		second, err := telemetry.Register(r, &pair{two()})
		require.NoError(t, err)
		require.Same(t, first, second)
	}
	_, err := telemetry.Register(registry, two()[0])
	require.ErrorContains(t, err, "give a Registerer of its own")
}

type pair struct{ telemetry.Collectors }

func TestNothingIsAllocatedForATracerThatRecordsNothing(t *testing.T) {
	require.Nil(t, telemetry.NewSpans(noop.NewTracerProvider(), "x"))
	spans := telemetry.NewSpans(silent{}, "x")
	ctx := api.ContextWithSpanContext(context.Background(), api.NewSpanContext(api.SpanContextConfig{TraceID: api.TraceID{1}, SpanID: api.SpanID{2}}))
	spans.Start(ctx, telemetry.Create, "orders")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, span := spans.Start(ctx, telemetry.Create, "orders")
		telemetry.Describe(span, "id", "k", "c")
		telemetry.End(span, nil, "")
	}))
}

// TestWhatIsNoText, such as an id that some producer put into a header, would keep an exporter from encoding
// the spans of others beside it.
func TestWhatIsNoText(t *testing.T) {
	t.Parallel()
	recorder, provider := recorded()
	spans := telemetry.NewSpans(provider, "x")
	_, span := spans.Start(context.Background(), telemetry.Process, "caf\xe9", telemetry.Link(api.NewSpanContext(api.SpanContextConfig{TraceID: api.TraceID{1}, SpanID: api.SpanID{2}}), "\xe9", "\xe9"))
	telemetry.Describe(span, "\xe9", "\xe9", "\xe9")
	telemetry.End(span, errors.New("\xe9"), "")
	got := recorder.Ended()[0]
	require.Equal(t, "process caf\uFFFD", got.Name())
	require.Equal(t, "\uFFFD", got.Status().Description)
	require.Equal(t, "caf\uFFFD", texts(got.Attributes())["messaging.destination.name"])
	require.NotContains(t, texts(got.Attributes()), attribute.Key("messaging.message.id"))
	require.Empty(t, got.Links()[0].Attributes)
}

// silent is a provider that records nothing and is not recognised as one.
type silent struct{ noop.TracerProvider }

func (silent) Tracer(string, ...api.TracerOption) api.Tracer { return quiet{} }

type quiet struct{ noop.Tracer }

type attributeless struct{}

func (attributeless) Error() string { return "x" }

type empty struct{}

func (empty) Unwrap() error { return nil }
func (empty) Error() string { return "" }

func texts(attributes []attribute.KeyValue) map[attribute.Key]string {
	all := map[attribute.Key]string{}
	for _, a := range attributes {
		all[a.Key] = a.Value.AsString()
	}
	return all
}
