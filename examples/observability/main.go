// Command observability shows what can be seen of an event on its way: one trace from the request that
// caused it to its last consumer, and the metrics of all parts. grafana-dashboard.json beside it is a
// dashboard for them, alerts.yaml rules for Prometheus.
//
//	go run ./examples/observability           # prints a trace and the metrics, and ends
//	go run ./examples/observability -serve    # goes on, and serves /metrics on 127.0.0.1:2112
//
// With OTEL_EXPORTER_OTLP_ENDPOINT set, the spans also go there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"

	"github.com/tailrace-go/tailrace/examples/internal/stack"
)

func main() {
	if err := command(); err != nil {
		log.Fatal(err)
	}
}

func command() error {
	serve := flag.Bool("serve", false, "go on publishing and serving until interrupted")
	address := flag.String("address", "127.0.0.1:2112", "where /metrics and POST /users are served with -serve")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if !*serve {
		*address = "127.0.0.1:0"
	}
	return run(ctx, os.Stdout, *address, *serve)
}

// run starts the servers and the service, has some users register, and prints what could be seen of that.
func run(ctx context.Context, out io.Writer, address string, serve bool) (err error) {
	servers, err := stack.Start(ctx) // PostgreSQL and Kafka; yours are there already
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	return with(ctx, servers.Environment(), address, func(ctx context.Context, s *service) error {
		return show(ctx, s, out, serve)
	})
}

// users is how many register besides the first.
const users = 50

func show(ctx context.Context, s *service, out io.Writer, serve bool) error {
	// One request by itself, so that its trace is easy to read.
	if err := s.register(ctx, "ada"); err != nil {
		return err
	}
	if err := s.awaitGreeted(ctx, 1); err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "one request's trace:")
	printTree(out, s.spans.GetSpans())

	for i := range users {
		if err := s.register(ctx, fmt.Sprintf("user-%d", i)); err != nil {
			return err
		}
	}
	if err := s.awaitGreeted(ctx, users-1); err != nil { // one cannot be greeted
		return err
	}
	fmt.Fprintf(out, "\nmetrics, as %s has them:\n", s.url("/metrics"))
	if err := s.printMetrics(ctx, out); err != nil {
		return err
	}
	if !serve {
		return nil
	}
	fmt.Fprintf(out, "\nserving %s; interrupt to end\n", s.url("/metrics"))
	return s.goOn(ctx)
}
