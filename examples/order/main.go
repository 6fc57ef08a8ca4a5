// Command order is an order service and a billing service, and the way of an order between them:
//
//	PUT /orders/{id} → orders: its rows, order_placed and an audit event, one transaction
//	                 → billing: an invoice, order_billed and the mark that it was billed, one transaction
//	                 → orders: confirmed, order_confirmed and a notification, one transaction
//
// It places three orders. One is billed and confirmed, and its event is delivered a second time on purpose.
// One is refused. One cannot be billed, becomes a dead letter and is requeued once the cause is mended. Then
// it counts what is in the tables.
//
// With -serve it stays up, for requests of your own.
//
// Read events (what the services tell each other), orders and billing first; app.go puts them together.
// Both are in this process and on one database here, and know nothing of that.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/tailrace-go/tailrace/examples/internal/stack"
)

func main() {
	stay := flag.Bool("serve", false, "stay up, and print requests to try")
	address := flag.String("addr", "127.0.0.1:0", "where to listen")
	flag.Parse()
	if !*stay {
		slog.SetLogLoggerLevel(slog.LevelError) // what the parts have to say is on -serve
	}
	if err := run(os.Stdout, *address, *stay); err != nil {
		log.Fatal("order: ", err)
	}
}

func run(out io.Writer, address string, stay bool) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	servers, err := stack.Start(ctx) // PostgreSQL and Kafka; yours are there already
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	return with(ctx, servers.Environment(), address, func(ctx context.Context, a *app) error {
		if stay {
			return wait(ctx, a, out)
		}
		return walk(ctx, a, out)
	})
}
