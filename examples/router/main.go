// Command router shows what a Watermill router does with events: typed handlers of every kind, several
// types on one topic with each way to treat an unknown one, a handler that returns messages, publisher
// decorators, Watermill's CQRS component beside them, and a graceful stop.
//
// It runs two releases of one service. The first does not know one of the event types, and is stopped with
// a message in hand; the second finds both waiting for it. Every handler has every event in the end.
//
// handlers.go is what to read first.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/examples/internal/stack"
)

func main() {
	if err := run(os.Stdout); err != nil {
		log.Fatal("router: ", err)
	}
}

func run(out io.Writer) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	servers, err := stack.StartKafka(ctx) // yours is there already
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	settings, err := connect.Load(servers.Environment()) // KAFKA_BROKERS, EVENT_TOPIC_PREFIX, …
	if err != nil {
		return err
	}
	return walk(ctx, settings, out)
}

// walk publishes, runs the two releases, and counts.
func walk(ctx context.Context, settings connect.Config, out io.Writer) (err error) {
	s, err := newService(ctx, settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.publisher.Close()) }()
	if err := s.publish(ctx); err != nil {
		return err
	}
	first, second := &release{service: s}, &release{service: s, knowsCoupons: true}
	if err := first.run(ctx, map[string]int{
		"audit-log": 3, "crm": 3, "search": 3, "greeter": 3, "mailer": 3, "loyalty": 1,
		"clicks": 2, "carts": 3, "dead-letters": 1, "ledger": 2, "ledger, kept": 1, "archive": 2, "archive, in hand": 1,
	}); err != nil {
		return fmt.Errorf("the first release: %w", err)
	}
	before := s.tally.counts()
	if err := second.run(ctx, map[string]int{"ledger": 4, "archive": 3}); err != nil {
		return fmt.Errorf("the second release: %w", err)
	}
	return s.report(out, before, s.tally.counts())
}
