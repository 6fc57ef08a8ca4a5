package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tailrace-go/tailrace/bus/request"
)

// makeServer makes the HTTP server: every event of a request has its correlation id, user and address.
func (a *app) makeServer(ctx context.Context, address string) error {
	about, err := request.New(request.Config{
		// The user is whom the authentication in front of it found; here, everybody is believed.
		User: func(r *http.Request) string { return r.Header.Get("X-User") },
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/orders/", about(a.orders.Handler()))
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}))
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	a.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address)
	return err
}

func (a *app) url() string { return "http://" + a.listener.Addr().String() }

// serve serves until ctx ends, then lets the requests that run finish.
func (a *app) serve(ctx context.Context) error {
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- a.server.Shutdown(ctx)
	}()
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return <-stopped
}
