package request_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/request"
)

const traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// serve runs the middleware over one request and returns the context that the handler saw.
func serve(t testing.TB, config request.Config, change func(*http.Request)) (context.Context, http.Header) {
	t.Helper()
	about, err := request.New(config)
	require.NoError(t, err)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.RemoteAddr = "203.0.113.7:5000"
	if change != nil {
		change(r)
	}
	w, seen := httptest.NewRecorder(), make(chan context.Context, 1)
	about(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Context() })).ServeHTTP(w, r)
	return <-seen, w.Header()
}

func TestARequestIsTold(t *testing.T) {
	t.Parallel()
	ctx, response := serve(t, request.Config{
		User:           func(r *http.Request) string { return r.Header.Get("X-User") },
		Session:        func(r *http.Request) string { return r.Header.Get("X-Session") },
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
	}, func(r *http.Request) {
		for name, value := range map[string]string{
			"X-Correlation-ID": "req-7f3a", "X-Request-ID": "one", "X-User": "admin-1", "X-Session": "s-1",
			"X-Forwarded-For": "198.51.100.1", "User-Agent": "curl/8.5.0", "traceparent": traceParent,
		} {
			r.Header.Set(name, value)
		}
	})
	require.Equal(t, bus.Metadata{
		CorrelationID: "req-7f3a", RequestID: "one", UserID: "admin-1", SessionID: "s-1", SourceIP: "198.51.100.1", UserAgent: "curl/8.5.0",
	}, bus.MetadataFrom(ctx))
	span := trace.SpanContextFromContext(ctx)
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", span.TraceID().String())
	require.Equal(t, "00f067aa0ba902b7", span.SpanID().String())
	require.True(t, span.IsRemote())
	require.Equal(t, http.Header{"X-Correlation-Id": {"req-7f3a"}, "X-Request-Id": {"one"}}, response)
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config request.Config
		sent   []string
		want   string // empty for a new one
	}{
		"none":                            {sent: nil},
		"a good one":                      {sent: []string{"req-7f3a"}, want: "req-7f3a"},
		"an empty one":                    {sent: []string{""}},
		"one too long":                    {sent: []string{strings.Repeat("a", 129)}},
		"one that would forge log lines":  {sent: []string{"a\nadmin logged in"}},
		"one that would run in a browser": {sent: []string{"<script>"}},
		"the first good one of several":   {sent: []string{"a b", "two", "three"}, want: "two"},
		"anybody's":                       {config: request.Config{Public: true}, sent: []string{"req-7f3a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, response := serve(t, test.config, func(r *http.Request) {
				r.Header["X-Correlation-Id"], r.Header["X-Request-Id"] = test.sent, test.sent
				r.Header.Set("Traceparent", traceParent)
			})
			told := bus.MetadataFrom(ctx)
			for header, id := range map[string]string{"X-Correlation-ID": told.CorrelationID, "X-Request-ID": told.RequestID} {
				require.Equal(t, id, response.Get(header))
				if test.want != "" {
					require.Equal(t, test.want, id)
					continue
				}
				made, err := uuid.Parse(id)
				require.NoError(t, err)
				require.EqualValues(t, 7, made.Version())
			}
			require.Equal(t, !test.config.Public, trace.SpanContextFromContext(ctx).IsValid())
		})
	}
}

func TestWhatIsKnownAlreadyStands(t *testing.T) {
	t.Parallel()
	traceID, _ := trace.TraceIDFromHex("11111111111111111111111111111111")
	spanID, _ := trace.SpanIDFromHex("2222222222222222")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID})
	ctx, _ := serve(t, request.Config{}, func(r *http.Request) {
		r.Header.Set("Traceparent", traceParent)
		r.Header.Set("X-Correlation-ID", "theirs")
		ctx := trace.ContextWithSpanContext(r.Context(), span)
		*r = *r.WithContext(bus.WithMetadata(ctx, bus.Metadata{CorrelationID: "ours", UserID: "admin-1"}))
	})
	require.Equal(t, span, trace.SpanContextFromContext(ctx), "otelhttp's span")
	require.Equal(t, "ours", bus.MetadataFrom(ctx).CorrelationID)
	require.Equal(t, "admin-1", bus.MetadataFrom(ctx).UserID)
}

func TestHeadersByOtherNames(t *testing.T) {
	t.Parallel()
	_, response := serve(t, request.Config{CorrelationHeader: "x-trace", RequestHeader: "x-call"}, func(r *http.Request) {
		r.Header.Set("X-Trace", "a")
		r.Header.Set("X-Call", "b")
	})
	require.Equal(t, http.Header{"X-Trace": {"a"}, "X-Call": {"b"}}, response)
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := request.New(request.Config{
		CorrelationHeader: "X Id", RequestHeader: "x id",
		TrustedProxies: []netip.Prefix{{}, netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("10.0.0.0/8")},
	})
	require.ErrorIs(t, err, request.ErrConfig)
	for _, part := range []string{
		`CorrelationHeader "X Id" is no name of a header`, `RequestHeader "x id" is no name`, "the two ids need a header each",
		"TrustedProxies[0] is no network", "TrustedProxies[1] holds every address", "TrustedProxies[2] is an IPv4 network written as IPv6",
	} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), "TrustedProxies[3]")
}

// What a handler can do with its ResponseWriter must not depend on this middleware.
func TestTheResponseWriterIsTheServersOwn(t *testing.T) {
	t.Parallel()
	about, err := request.New(request.Config{})
	require.NoError(t, err)
	started := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/flush", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		w.(http.Flusher).Flush()
		<-started
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(w, "second\n")
		if err := control.Flush(); err != nil {
			panic(err)
		}
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		conn, out, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = out.WriteString("raw\n")
		_ = out.Flush()
	})
	server := httptest.NewServer(about(mux))
	t.Cleanup(server.Close)

	response, err := server.Client().Get(server.URL + "/flush")
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body := bufio.NewReader(response.Body)
	line, err := body.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "first\n", line, "before the handler has ended")
	require.NotEmpty(t, response.Header.Get("X-Correlation-ID"))
	close(started)
	line, err = body.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "second\n", line)

	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	raw, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "raw\n", string(raw))
}
