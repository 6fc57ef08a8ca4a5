package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/cmd/tailrace/internal/demo"
)

func demoCommand() *cobra.Command {
	var s settings
	var users int
	var verbose bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole way of an event, on servers it starts itself",
		Long: `Show the whole way of an event, on a PostgreSQL and a Kafka that it starts itself and stops in the end:
a user service publishes in its transactions, the forwarder carries it to Kafka, a Watermill router
consumes. It then counts every event, and exits with 1 if any count is wrong.

PostgreSQL is the one at DATABASE_URL, in a database of its own that is dropped in the end; else it is
started from the binaries of this machine; else they are downloaded once. Kafka runs in this process.`,
	}
	s.share(cmd, setting{flag: "database-url", variable: "DATABASE_URL", kind: "url"},
		"a running PostgreSQL to use, by an account that may create databases")
	define(&s, cmd, &users, setting{flag: "users", kind: "count", text: "200"}, "how many users register", parseCount(20, 100_000))
	define(&s, cmd, &verbose, setting{flag: "verbose", kind: "bool", text: "false"}, "show what the parts log", parseBool)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		environ := environment()
		faults := s.resolve(cmd.Flags(), environ)
		shared, err := s.connect(cmd.Flags(), environ, false)
		if err := badConfiguration(err, faults); err != nil {
			return err
		}
		config := demo.Config{Out: cmd.OutOrStdout(), DatabaseURL: string(shared.DatabaseURL), Users: users}
		if verbose {
			config.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
		}
		err = demo.Run(cmd.Context(), config)
		if cmd.Context().Err() != nil {
			return fmt.Errorf("interrupted before the end: %w", cmp.Or(err, context.Canceled))
		}
		return err
	}
	return cmd
}
