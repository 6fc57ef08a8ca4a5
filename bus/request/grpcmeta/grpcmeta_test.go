package grpcmeta_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/request/grpcmeta"
)

const traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// seeing is a service with a unary and a streaming method, which keeps the context of each call.
type seeing struct {
	grpc_health_v1.UnimplementedHealthServer

	contexts chan context.Context
}

func (s *seeing) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.contexts <- ctx
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

func (s *seeing) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	s.contexts <- stream.Context()
	return stream.Send(&grpc_health_v1.HealthCheckResponse{})
}

// call calls both methods and returns, for each, the handler's context and the response's header.
func call(t *testing.T, config grpcmeta.Config, ctx context.Context, check func(t *testing.T, seen context.Context, header metadata.MD)) {
	t.Helper()
	about, err := grpcmeta.New(config)
	require.NoError(t, err)
	service := &seeing{contexts: make(chan context.Context, 1)}
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(about.Unary), grpc.ChainStreamInterceptor(about.Stream))
	grpc_health_v1.RegisterHealthServer(server, service)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-ended)
	})
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(grpcmeta.UnaryClient), grpc.WithChainStreamInterceptor(grpcmeta.StreamClient))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	client := grpc_health_v1.NewHealthClient(conn)

	t.Run("unary", func(t *testing.T) {
		var header metadata.MD
		_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&header))
		require.NoError(t, err)
		check(t, <-service.contexts, header)
	})
	t.Run("stream", func(t *testing.T) {
		stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		require.NoError(t, err)
		header, err := stream.Header()
		require.NoError(t, err)
		check(t, <-service.contexts, header)
	})
}

func TestACallIsTold(t *testing.T) {
	t.Parallel()
	ctx := bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "req-7f3a", UserID: "not sent"})
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceParent})
	ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", "one", "x-forwarded-for", "1.2.3.4, 203.0.113.7", "x-user", "admin-1")
	call(t, grpcmeta.Config{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		User: func(ctx context.Context) string {
			in, _ := metadata.FromIncomingContext(ctx)
			return in.Get("x-user")[0]
		},
		Session: func(context.Context) string { return "s-1" },
	}, ctx, func(t *testing.T, seen context.Context, header metadata.MD) {
		told := bus.MetadataFrom(seen)
		require.Contains(t, told.UserAgent, "grpc-go/")
		told.UserAgent = ""
		require.Equal(t, bus.Metadata{CorrelationID: "req-7f3a", RequestID: "one", UserID: "admin-1", SessionID: "s-1", SourceIP: "203.0.113.7"}, told)
		span := trace.SpanContextFromContext(seen)
		require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", span.TraceID().String())
		require.Equal(t, "00f067aa0ba902b7", span.SpanID().String())
		require.Equal(t, []string{"req-7f3a"}, header.Get("x-correlation-id"))
		require.Equal(t, []string{"one"}, header.Get("x-request-id"))
	})
}

func TestACallThatSaysNothing(t *testing.T) {
	t.Parallel()
	call(t, grpcmeta.Config{}, t.Context(), func(t *testing.T, seen context.Context, header metadata.MD) {
		told := bus.MetadataFrom(seen)
		require.Equal(t, "127.0.0.1", told.SourceIP)
		require.Empty(t, told.UserID)
		for name, id := range map[string]string{"x-correlation-id": told.CorrelationID, "x-request-id": told.RequestID} {
			require.NoError(t, uuid.Validate(id))
			require.Equal(t, []string{id}, header.Get(name))
		}
		require.False(t, trace.SpanContextFromContext(seen).IsValid())
	})
}

func TestAHostileCall(t *testing.T) {
	t.Parallel()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-correlation-id", "<script>", "x-request-id", "one",
		"traceparent", traceParent, "x-forwarded-for", "1.2.3.4")
	call(t, grpcmeta.Config{Public: true}, ctx, func(t *testing.T, seen context.Context, _ metadata.MD) {
		told := bus.MetadataFrom(seen)
		require.NoError(t, uuid.Validate(told.CorrelationID))
		require.NoError(t, uuid.Validate(told.RequestID))
		require.Equal(t, "127.0.0.1", told.SourceIP)
		require.False(t, trace.SpanContextFromContext(seen).IsValid())
	})
}

func TestTheClientLetsStandWhatTheCallHas(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		id    string
		given []string
		want  []string
	}{
		"nothing given":         {"req-7f3a", nil, []string{"req-7f3a"}},
		"given":                 {"req-7f3a", []string{"X-Correlation-ID", "own"}, []string{"own"}},
		"none":                  {"", nil, nil},
		"what no header can be": {"ä\n", nil, []string{"%C3%A4%250A"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := metadata.AppendToOutgoingContext(bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: test.id}), test.given...)
			err := grpcmeta.UnaryClient(ctx, "/m", nil, nil, nil, func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
				out, _ := metadata.FromOutgoingContext(ctx)
				require.Equal(t, test.want, out.Get("x-correlation-id"))
				return nil
			})
			require.NoError(t, err)
		})
	}
}

// A trace state says more of the trace parent that it came with, and of no other.
func TestATraceStateIsNotPutBesideAnothersTraceParent(t *testing.T) {
	t.Parallel()
	const own = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"
	ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": traceParent, "tracestate": "ours=1"})
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", own)
	err := grpcmeta.UnaryClient(ctx, "/m", nil, nil, nil, func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
		out, _ := metadata.FromOutgoingContext(ctx)
		require.Equal(t, []string{own}, out.Get("traceparent"))
		require.Empty(t, out.Get("tracestate"))
		return nil
	})
	require.NoError(t, err)
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := grpcmeta.New(grpcmeta.Config{TrustedProxies: []netip.Prefix{{}, netip.MustParsePrefix("::/0")}})
	require.ErrorIs(t, err, grpcmeta.ErrConfig)
	require.ErrorContains(t, err, "TrustedProxies[0] is no network")
	require.ErrorContains(t, err, "TrustedProxies[1] holds every address")
}
