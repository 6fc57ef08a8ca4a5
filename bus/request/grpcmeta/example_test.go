package grpcmeta_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/request/grpcmeta"
)

// A server's handlers find in their context what the call says of itself.
func ExampleNew() {
	about, err := grpcmeta.New(grpcmeta.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = grpc.NewServer(grpc.ChainUnaryInterceptor(about.Unary), grpc.ChainStreamInterceptor(about.Stream))

	// What the server does with a call:
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("x-correlation-id", "req-7f3a"))
	_, _ = about.Unary(ctx, nil, nil, func(ctx context.Context, _ any) (any, error) {
		fmt.Println(bus.MetadataFrom(ctx).CorrelationID)
		return nil, nil
	})
	// Output: req-7f3a
}
