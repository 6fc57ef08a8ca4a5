// Package grpcmeta is package request for gRPC: what a call says of itself goes into the metadata of the
// events it causes, and calls made on its behalf carry the correlation id and the trace.
//
//	about, err := grpcmeta.New(grpcmeta.Config{User: func(ctx context.Context) string { return auth.User(ctx) }})
//	server := grpc.NewServer(grpc.ChainUnaryInterceptor(about.Unary), grpc.ChainStreamInterceptor(about.Stream))
//	client, err := grpc.NewClient(target, grpc.WithChainUnaryInterceptor(grpcmeta.UnaryClient),
//		grpc.WithChainStreamInterceptor(grpcmeta.StreamClient))
//
// The metadata keys are the HTTP headers' names in lower case: x-correlation-id, x-request-id, user-agent,
// traceparent and, from trusted proxies, x-forwarded-for or forwarded. The two ids come back in the
// response's header metadata.
//
// It is a package of its own because it links google.golang.org/grpc.
package grpcmeta
