package request_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/request"
)

func told(ctx context.Context) context.Context {
	ctx = bus.WithMetadata(ctx, bus.Metadata{CorrelationID: "req-7f3a", UserID: "admin-1", SessionID: "s-1"})
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceParent})
}

func TestTransport(t *testing.T) {
	t.Parallel()
	arrived := make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Header }))
	t.Cleanup(server.Close)
	for name, test := range map[string]struct {
		transport request.Transport
		ctx       context.Context
		given     http.Header
		want      map[string]string
	}{
		"a context that tells":              {ctx: told(t.Context()), want: map[string]string{"X-Correlation-ID": "req-7f3a", "Traceparent": traceParent}},
		"one that does not":                 {ctx: t.Context(), want: map[string]string{"X-Correlation-ID": "", "Traceparent": ""}},
		"what the request has stands":       {ctx: told(t.Context()), given: http.Header{"X-Correlation-Id": {"own"}}, want: map[string]string{"X-Correlation-ID": "own", "Traceparent": traceParent}},
		"without headers":                   {ctx: told(t.Context()), given: nil, want: map[string]string{"X-Correlation-ID": "req-7f3a"}},
		"by another name":                   {transport: request.Transport{CorrelationHeader: "x-trace"}, ctx: told(t.Context()), want: map[string]string{"X-Trace": "req-7f3a", "X-Correlation-ID": ""}},
		"an id that no header can hold":     {ctx: bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "a\r\nb"}), want: map[string]string{"X-Correlation-ID": "a%0D%0Ab"}},
		"no more of the user than needs be": {ctx: told(t.Context()), want: map[string]string{"User": "", "Cookie": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(test.ctx, http.MethodGet, server.URL, nil)
			require.NoError(t, err)
			r.Header = test.given
			before := r.Header.Clone()
			response, err := (&http.Client{Transport: &test.transport}).Do(r)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			header := <-arrived
			for name, want := range test.want {
				require.Equal(t, want, header.Get(name), name)
			}
			for _, values := range header {
				require.NotContains(t, values, "admin-1")
			}
			require.Equal(t, before, r.Header, "the caller's request stays as it is")
		})
	}
}

// A trace state says more of the trace parent that it came with, and of no other.
func TestATraceStateIsNotPutBesideAnothersTraceParent(t *testing.T) {
	t.Parallel()
	const own = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"
	ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": traceParent, "tracestate": "ours=1"})
	for given, want := range map[string][2]string{"": {traceParent, "ours=1"}, own: {own, ""}} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://service.test", nil)
		require.NoError(t, err)
		if given != "" {
			r.Header.Set("Traceparent", given)
		}
		var sent http.Header
		_, err = (&request.Transport{Base: sending(func(r *http.Request) { sent = r.Header })}).RoundTrip(r) //nolint:bodyclose // There is none.
		require.NoError(t, err)
		require.Equal(t, want, [2]string{sent.Get("Traceparent"), sent.Get("Tracestate")})
	}
}

type sending func(*http.Request)

func (s sending) RoundTrip(r *http.Request) (*http.Response, error) {
	s(r)
	return &http.Response{}, nil
}

type closing struct {
	http.RoundTripper

	closed int
}

func (c *closing) CloseIdleConnections() { c.closed++ }

func TestTransportPassesCloseIdleConnections(t *testing.T) {
	t.Parallel()
	base := &closing{}
	(&http.Client{Transport: &request.Transport{Base: base}}).CloseIdleConnections()
	require.Equal(t, 1, base.closed)
	(&request.Transport{}).CloseIdleConnections()
}
