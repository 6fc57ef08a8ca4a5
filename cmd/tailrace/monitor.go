package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// monitor serves /healthz, /readyz and /metrics. The nil monitor serves nothing.
type monitor struct {
	listener net.Listener
	server   *http.Server
}

// probe tells /readyz: what stands in the way (nil: nothing), and a line on how things are.
type probe func() (line string, err error)

// listen takes the address, so that a busy one is known before anything is started. "" is no monitor.
func listen(address string) (*monitor, error) {
	if address == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("address %s is in use by another process: stop that one, or give this one another with --http-addr or TAILRACE_HTTP_ADDR (off for none)", address)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w: give another address with --http-addr or TAILRACE_HTTP_ADDR (off for none)", address, err)
	}
	return &monitor{listener: listener}, nil
}

// serve answers until close.
func (m *monitor) serve(ready probe, metrics prometheus.Gatherer, logger *slog.Logger) {
	if m == nil {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		line, err := ready()
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintf(w, "not ready: %v\n%s\n", err, line)
			return
		}
		_, _ = fmt.Fprintf(w, "ready: %s\n", line)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn)}
	logger.Info("serving /healthz, /readyz and /metrics", "address", m.listener.Addr().String())
	go func() {
		if err := m.server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("health and metrics are served no more", "error", err)
		}
	}()
}

func (m *monitor) close() {
	switch {
	case m == nil:
	case m.server == nil:
		_ = m.listener.Close()
	default:
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = m.server.Shutdown(ctx)
	}
}
