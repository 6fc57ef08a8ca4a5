// Command migrating brings an application to Tailrace, step by step, each of them running:
//
//	a  a hand-written outbox: its table is migrated in place, with its rows and beside its writers, and
//	   `tailrace forward` takes over from its relay; its INSERTs stay as they are
//	b  publishing through the Bus, in the same transactions as the INSERTs that are still there
//	c  direct publishing to Kafka, which survives a rollback, becomes the Bus's outbox
//	d  Watermill's forwarder: its daemon brings what is left in its table to the outbox, then the Bus takes
//	   its publisher's place
//
// Each step counts what was committed against what Kafka has: nothing lost, nothing twice, nothing that was
// rolled back, in order within each key.
//
// What does not work is to leave Watermill's forwarder.Publisher in place over the outbox: `tailrace forward`
// sends its envelopes as they are. It must go, as in step d.
//
// Each step is a file, step_a.go and so on; legacy.go is the application as it was.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/examples/internal/stack"
)

func main() {
	slog.SetLogLoggerLevel(slog.LevelError)
	if err := run(os.Stdout); err != nil {
		log.Fatal("migrating: ", err)
	}
}

func run(out io.Writer) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	servers, err := stack.Start(ctx) // PostgreSQL and Kafka; yours are there already
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	settings, err := connect.Load(servers.Environment())
	if err != nil {
		return err
	}
	return walk(ctx, settings, out)
}

// walk takes the steps, with the forwarder running from the first on.
func walk(ctx context.Context, settings connect.Config, out io.Writer) (err error) {
	a, err := open(ctx, settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	_, _ = fmt.Fprint(out, "\n  An application with a hand-written outbox comes to Tailrace. Events:\n\n")
	_, _ = fmt.Fprintf(out, heading, "", "committed", "Kafka", "not sent", "twice", "rolled back", "out of order")
	if err := a.migrate(ctx, out); err != nil {
		return fmt.Errorf("step a: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.forward.Run(ctx) }) // in production: tailrace forward
	group.Go(func() error {
		defer cancel()
		for _, step := range []struct {
			name string
			take func(context.Context, io.Writer) error
		}{{"a", a.forwarded}, {"b", a.publishByBus}, {"c", a.publishNoMoreDirectly}, {"d", a.leaveWatermillsForwarder}} {
			if err := step.take(ctx, out); err != nil {
				return fmt.Errorf("step %s: %w", step.name, err)
			}
		}
		_, _ = fmt.Fprintln(out)
		return nil
	})
	return group.Wait()
}
