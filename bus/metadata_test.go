package bus_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

var requestMetadata = bus.Metadata{
	CorrelationID: "c", CausationID: "cause", UserID: "u", SessionID: "s", RequestID: "r", SourceIP: "203.0.113.7",
	UserAgent: "curl", CustomHeaders: map[string]string{"tenant": "t-1", "region": "eu"},
}

func TestMetadataComesFromTheContext(t *testing.T) {
	t.Parallel()
	b, r := direct(t, func(c *bus.Config) { c.Version = "2.3.4" })
	_, err := b.PublishAudit(bus.WithMetadata(context.Background(), requestMetadata), loggedIn())
	require.NoError(t, err)
	_, envelope, msg := r.only(t)
	got := envelope.Metadata
	require.Equal(t, envelopes.Metadata{
		EventID: got.EventID, Timestamp: noon.Truncate(1000), ServiceName: "user-service", ServiceVersion: "2.3.4",
		CorrelationID: "c", CausationID: "cause", UserID: "u", SessionID: "s", RequestID: "r", Priority: "normal",
		SourceIP: "203.0.113.7", UserAgent: "curl", CustomHeaders: map[string]string{"tenant": "t-1", "region": "eu"},
	}, got)
	require.Equal(t, "c", msg.Metadata.Get("correlation_id"))
}

func TestTheEventsOwnMetadataStands(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	event := loggedIn()
	own := envelopes.Metadata{
		EventID: "e", Timestamp: noon.AddDate(-1, 0, 0), ServiceName: "other", ServiceVersion: "9", CorrelationID: "C",
		CausationID: "CAUSE", UserID: "U", SessionID: "S", RequestID: "R", SourceIP: "::1", UserAgent: "A",
		Priority: envelopes.PriorityCritical, CustomHeaders: map[string]string{"tenant": "t-2"},
	}
	event.Metadata = own
	_, err := b.PublishAudit(bus.WithMetadata(context.Background(), requestMetadata), event)
	require.NoError(t, err)
	_, envelope, _ := r.only(t)
	own.Timestamp = own.Timestamp.Truncate(1000)
	own.CustomHeaders = map[string]string{"tenant": "t-2", "region": "eu"}
	require.Equal(t, own, envelope.Metadata)
	require.Equal(t, map[string]string{"tenant": "t-2"}, event.Metadata.CustomHeaders, "the caller's map is not touched")
	require.Equal(t, map[string]string{"tenant": "t-1", "region": "eu"}, requestMetadata.CustomHeaders)
}

func TestContextsNest(t *testing.T) {
	t.Parallel()
	outer := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "c", UserID: "u", CustomHeaders: map[string]string{"a": "1", "b": "1"}})
	inner := bus.WithMetadata(outer, bus.Metadata{UserID: "v", RequestID: "r", CustomHeaders: map[string]string{"b": "2"}})
	require.Equal(t, bus.Metadata{CorrelationID: "c", UserID: "v", RequestID: "r", CustomHeaders: map[string]string{"a": "1", "b": "2"}}, bus.MetadataFrom(inner))
	require.Equal(t, "u", bus.MetadataFrom(outer).UserID)
	require.Zero(t, bus.MetadataFrom(context.Background()))
}

func inSpan(t *testing.T, flags trace.TraceFlags) context.Context {
	t.Helper()
	traceID, err := trace.TraceIDFromHex("4bf92f3577b34da6a3ce929d0e0e4736")
	require.NoError(t, err)
	spanID, err := trace.SpanIDFromHex("00f067aa0ba902b7")
	require.NoError(t, err)
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: flags}))
}

func TestTheSpanOfTheContext(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
	for what, c := range map[string]struct {
		flags     trace.TraceFlags
		own       envelopes.Metadata
		off       bool
		traceID   string
		traceLine string
	}{
		"sampled":               {flags: trace.FlagsSampled, traceID: "4bf92f3577b34da6a3ce929d0e0e4736", traceLine: parent + "01"},
		"not sampled":           {traceID: "4bf92f3577b34da6a3ce929d0e0e4736", traceLine: parent + "00"},
		"tracing off":           {flags: trace.FlagsSampled, off: true},
		"the event's own":       {own: envelopes.Metadata{TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331"}, traceID: "0af7651916cd43dd8448eb211c80319c", traceLine: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"half of another trace": {own: envelopes.Metadata{TraceID: "0af7651916cd43dd8448eb211c80319c"}, traceID: "0af7651916cd43dd8448eb211c80319c"},
		"an id that is not hex": {own: envelopes.Metadata{TraceID: "mine", SpanID: "span"}, traceID: "mine"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b, r := direct(t, func(config *bus.Config) { config.NoTracing = c.off })
			event := loggedIn()
			event.Metadata = c.own
			_, err := b.PublishAudit(inSpan(t, c.flags), event)
			require.NoError(t, err)
			_, envelope, msg := r.only(t)
			require.Equal(t, c.traceID, envelope.Metadata.TraceID)
			require.Equal(t, c.traceLine, msg.Metadata.Get("traceparent"))
			if c.traceLine == "" {
				require.NotContains(t, msg.Metadata, "traceparent")
			}
		})
	}
}
