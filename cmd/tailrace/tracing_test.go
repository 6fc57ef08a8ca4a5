package main_test

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector receives spans by OTLP over HTTP.
type collector struct {
	*httptest.Server

	mu        sync.Mutex
	spans     []*otlp.Span
	resources []*common.KeyValue
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		data, err := io.ReadAll(body)
		request := &coltrace.ExportTraceServiceRequest{}
		if err != nil || proto.Unmarshal(data, request) != nil || r.URL.Path != "/v1/traces" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range request.GetResourceSpans() {
			c.resources = append(c.resources, resource.GetResource().GetAttributes()...)
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) received() []*otlp.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*otlp.Span(nil), c.spans...)
}

// TestForwardExportsSpans: at the latest when it stops, long before the exporter's own next time.
func TestForwardExportsSpans(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"pipeline", "watermill"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			b, c := setup(t), startCollector(t)
			_, err := b.db.ExecContext(t.Context(), `INSERT INTO event_outbox (event_id, topic, payload, headers)
				VALUES ('event-1', $1, 'p', '{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}')`, topic)
			require.NoError(t, err)
			p := start(t, []string{
				"DATABASE_URL=" + b.dsn, "KAFKA_BROKERS=" + strings.Join(b.broker.Brokers(), ","), "SERVICE_NAME=orders-forwarder",
				"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_BSP_SCHEDULE_DELAY=3600000", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test",
			}, "forward", "--http-addr", "127.0.0.1:0", "--engine", engine)
			b.waitSettled()
			require.Empty(t, c.received())
			p.stop()

			spans := c.received()
			require.Len(t, spans, 1)
			require.Equal(t, "send "+topic, spans[0].GetName())
			require.Equal(t, otlp.Span_SPAN_KIND_CLIENT, spans[0].GetKind())
			require.Equal(t, "0af7651916cd43dd8448eb211c80319c", hex.EncodeToString(spans[0].GetTraceId()))
			require.Equal(t, "b7ad6b7169203331", hex.EncodeToString(spans[0].GetParentSpanId()))
			about := map[string]string{}
			for _, one := range c.resources {
				about[one.GetKey()] = one.GetValue().GetStringValue()
			}
			require.Equal(t, "orders-forwarder", about["service.name"])
			require.Equal(t, "test", about["deployment.environment.name"])
			require.NotEmpty(t, about["service.version"])
		})
	}
}

// TestForwardStopsInTimeWithoutACollector: what cannot be exported holds nothing up, and is said.
func TestForwardStopsInTimeWithoutACollector(t *testing.T) {
	t.Parallel()
	b := setup(t)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then is the client's going noticed
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	p := start(t, []string{
		"DATABASE_URL=" + b.dsn, "KAFKA_BROKERS=" + strings.Join(b.broker.Brokers(), ","),
		"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=" + silent.URL,
	}, "forward", "--http-addr", "127.0.0.1:0", "--drain-timeout", "2s")
	_, err := b.db.ExecContext(t.Context(), `INSERT INTO event_outbox (event_id, topic, payload) VALUES ('event-1', $1, 'p')`, topic)
	require.NoError(t, err)
	b.waitSettled()
	began := time.Now()
	p.stop()
	require.Less(t, time.Since(began), 20*time.Second, "nowhere near the exporter's minute")
	require.Contains(t, p.log.String(), "spans were not exported")
}

// TestTracingIsOffUnlessAskedFor: no variable, none, or the SDK turned off.
func TestTracingIsOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, env := range map[string][]string{
		"nothing said": nil,
		"none":         {"OTEL_TRACES_EXPORTER=none", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:1"},
		"disabled":     {"OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=otlp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, append(env, "DATABASE_URL="+b.dsn, "KAFKA_BROKERS="+strings.Join(b.broker.Brokers(), ",")), "forward", "--http-addr", "127.0.0.1:0")
			p.waitReady(200, "")
			p.stop()
			require.Contains(t, p.log.String(), "tracing=false")
		})
	}
	_, help := run(t, nil, "forward", "--help")
	require.Contains(t, help, "OTEL_EXPORTER_OTLP_ENDPOINT")
}
