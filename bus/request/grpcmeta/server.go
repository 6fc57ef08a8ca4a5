package grpcmeta

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/tailrace-go/tailrace/bus/request/internal/incoming"
)

// Config says what is read from a call. Its zero value is good for a service that its callers reach without
// a proxy. See request.Config for what the fields mean.
type Config struct {
	// Public says that anybody may call: every call gets new ids, and its trace context is not taken.
	Public bool
	// User returns who calls, "" for nobody. It sees the context as this interceptor does, so put that
	// behind the one that authenticates. Default: none.
	User func(context.Context) string
	// Session returns the session, "" for none. Default: none.
	Session func(context.Context) string
	// TrustedProxies are the networks of one's own proxies. Default: none.
	TrustedProxies []netip.Prefix
	// Forwarded says that they write forwarded in place of x-forwarded-for.
	Forwarded bool
	// Propagator reads the trace context, unless the context has a span already. Default: W3C trace context.
	Propagator propagation.TextMapPropagator
}

// ErrConfig is wrapped by every mistake in a [Config].
var ErrConfig = errors.New("grpcmeta: invalid configuration")

// Server has the interceptors of a server.
type Server struct {
	config Config
	rules  incoming.Rules
}

// New checks the configuration, reporting all mistakes at once.
func New(config Config) (*Server, error) {
	rules, faults := incoming.Rules{
		Public: config.Public, Propagator: config.Propagator,
		Proxies: incoming.Proxies{Trusted: config.TrustedProxies, Forwarded: config.Forwarded},
	}.Complete()
	for i, fault := range faults {
		faults[i] = fmt.Errorf("%w: %w", ErrConfig, fault)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return &Server{config, rules}, nil
}

// Unary is a grpc.UnaryServerInterceptor.
func (s *Server) Unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, ids := s.about(ctx)
	// Without a transport, as in a test that calls the handler itself, there is no one to tell.
	_ = grpc.SetHeader(ctx, ids)
	return handler(ctx, req)
}

// Stream is a grpc.StreamServerInterceptor. All events of one stream are of one request.
func (s *Server) Stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, ids := s.about(stream.Context())
	_ = stream.SetHeader(ids) // it fails only once the header is sent, which nobody further out should have done
	return handler(srv, &withContext{stream, ctx})
}

// withContext is a stream with another context, which gRPC has no other way to give it.
type withContext struct {
	grpc.ServerStream

	ctx context.Context
}

func (w *withContext) Context() context.Context { return w.ctx }

func (s *Server) about(ctx context.Context) (context.Context, metadata.MD) {
	in, _ := metadata.FromIncomingContext(ctx)
	call := incoming.Call{Values: in.Get, Carrier: carrier(in)}
	if caller, ok := peer.FromContext(ctx); ok && caller.Addr != nil {
		call.Remote = caller.Addr.String()
	}
	if s.config.User != nil {
		call.UserID = s.config.User(ctx)
	}
	if s.config.Session != nil {
		call.SessionID = s.config.Session(ctx)
	}
	ctx, told := s.rules.Context(ctx, call)
	return ctx, metadata.Pairs(s.rules.CorrelationHeader, told.CorrelationID, s.rules.RequestHeader, told.RequestID)
}

// carrier lets OpenTelemetry read and write metadata.
type carrier metadata.MD

func (c carrier) Get(key string) string {
	if values := metadata.MD(c).Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (c carrier) Set(key, value string) { metadata.MD(c).Set(key, value) }

func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for key := range c {
		keys = append(keys, strings.ToLower(key))
	}
	return keys
}
