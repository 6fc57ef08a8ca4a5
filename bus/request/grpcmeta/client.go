package grpcmeta

import (
	"context"
	"net/url"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// UnaryClient is a grpc.UnaryClientInterceptor that sends the context's correlation id and its W3C trace
// context along with a call, to services of one's own. Metadata that the call has already stands.
func UnaryClient(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return invoke(outgoing(ctx), method, req, reply, conn, options...)
}

// StreamClient is [UnaryClient] for streams.
func StreamClient(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(outgoing(ctx), desc, conn, method, options...)
}

func outgoing(ctx context.Context) context.Context {
	given, _ := metadata.FromOutgoingContext(ctx)
	extra := metadata.MD{}
	if id := bus.MetadataFrom(ctx).CorrelationID; id != "" {
		extra.Set("x-correlation-id", printable(id))
	}
	if trace.SpanContextFromContext(ctx).IsValid() {
		propagation.TraceContext{}.Inject(ctx, carrier(extra))
	}
	if len(given.Get(telemetry.TraceParent)) > 0 {
		extra.Delete(telemetry.TraceState) // it is a part of ours (W3C Trace Context, 3.3)
	}
	for key := range extra {
		if len(given.Get(key)) > 0 {
			delete(extra, key)
		}
	}
	if len(extra) == 0 {
		return ctx
	}
	return metadata.NewOutgoingContext(ctx, metadata.Join(given, extra))
}

// printable makes of an id that came with an event what metadata can hold, which is printable ASCII (gRPC
// over HTTP/2, ASCII-Value): a call must not fail for it.
func printable(id string) string {
	id = envelopes.HeaderValue(id)
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return url.PathEscape(id)
		}
	}
	return id
}
