package request

import (
	"cmp"
	"context"
	"maps"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// Transport is an http.RoundTripper that sends the correlation id and the trace of a request's context along
// with it, to services of one's own: a stranger's has no business with them. Headers that the request has
// already stand, and no more is sent of who the user is. Its zero value is ready.
type Transport struct {
	// Base makes the requests. Default: http.DefaultTransport. One of otelhttp belongs here, where it sends
	// its own span in place of the context's.
	Base http.RoundTripper
	// CorrelationHeader is the header with the correlation id. Default: X-Correlation-ID.
	CorrelationHeader string
	// Propagator writes the trace context. Default: W3C trace context.
	Propagator propagation.TextMapPropagator
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	extra := t.headers(r.Context())
	if r.Header.Get(telemetry.TraceParent) != "" {
		extra.Del(telemetry.TraceState) // it is a part of ours (W3C Trace Context, 3.3)
	}
	for name := range extra {
		if _, given := r.Header[name]; given {
			delete(extra, name)
		}
	}
	if len(extra) == 0 {
		return base.RoundTrip(r)
	}
	r = r.Clone(r.Context()) // a RoundTripper must not change the request
	if r.Header == nil {
		r.Header = make(http.Header, len(extra))
	}
	maps.Copy(r.Header, extra)
	return base.RoundTrip(r)
}

func (t *Transport) headers(ctx context.Context) http.Header {
	extra := http.Header{}
	if id := bus.MetadataFrom(ctx).CorrelationID; id != "" {
		// An id that came with an event may hold what no header can.
		extra.Set(cmp.Or(t.CorrelationHeader, "X-Correlation-ID"), envelopes.HeaderValue(id))
	}
	if trace.SpanContextFromContext(ctx).IsValid() {
		propagator := t.Propagator
		if propagator == nil {
			propagator = propagation.TraceContext{}
		}
		propagator.Inject(ctx, propagation.HeaderCarrier(extra))
	}
	return extra
}

// CloseIdleConnections makes http.Client.CloseIdleConnections work.
func (t *Transport) CloseIdleConnections() {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if closer, ok := base.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
