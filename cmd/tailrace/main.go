// Command tailrace is the forwarder's process and the operator's tool: it makes the outbox table,
// carries what services write into it to Kafka, says how an outbox stands, sends dead letters back, and
// shows itself.
//
//	tailrace demo         show the whole way of an event, on servers it starts itself
//	tailrace migrate      create the outbox table, or bring it up to date beside live publishers
//	tailrace forward      forward the outbox to Kafka until it is stopped
//	tailrace status       say how an outbox stands, or several
//	tailrace deadletters  list, show, requeue or discard what could not be handled or delivered
//	tailrace bench        measure all of this on your PostgreSQL and Kafka, or on embedded ones
//
// It exits with 0 after a clean stop, 1 when something failed and 2 when it was told wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	embedded "github.com/tailrace-go/tailrace/internal/embedded/kafka"
)

const (
	exitOK = iota
	exitFailed
	exitUsage
)

const exitSignalled = 128 // and the signal's number

func main() {
	embedded.Serve() // `tailrace bench` starts this program again, as a broker
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	ctx, restore := untilSignalled(context.Background())
	defer restore()

	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		_, _ = fmt.Fprintf(stderr, "tailrace: %v\n", err)
		return exitUsage
	default:
		_, _ = fmt.Fprintf(stderr, "tailrace: %v\n", err)
		return exitFailed
	}
}

// untilSignalled returns a context that the first SIGINT or SIGTERM ends, for a clean stop. A second one ends the
// process at once, with the status that shells give to a process which a signal ended.
func untilSignalled(parent context.Context) (ctx context.Context, restore func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	// Caught to the end: handing them back to the runtime after the first would take a while in which the second is lost.
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	over := make(chan struct{})
	go func() {
		for told := false; ; told = true {
			select {
			case s := <-signals:
				if told {
					os.Exit(exitSignalled + int(s.(syscall.Signal))) //nolint:forcetypeassert // The two above are.
				}
				cancel()
			case <-over:
				return
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); close(over); cancel() }
}

// usageError is what the caller has to set right on the command line or in the environment.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tailrace",
		Short: "Events from PostgreSQL to Kafka: in the transaction that caused them, in order, and fast",
		// Errors are printed once, by run; a wrong flag needs no page of help below it.
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	root.AddCommand(demoCommand(), migrateCommand(), forwardCommand(), statusCommand(), deadLettersCommand(), benchCommand(), versionCommand())
	for _, command := range root.Commands() {
		finish(command)
	}
	return root
}

// finish gives a command that does something what all of them have in common.
func finish(command *cobra.Command) {
	if command.HasSubCommands() {
		for _, below := range command.Commands() {
			finish(below)
		}
		return
	}
	command.Args = noArguments
	command.SetUsageTemplate(usageTemplate)
	command.Flags().SortFlags = false
}

func unknownCommand(cmd *cobra.Command, name string) error {
	return usageError{fmt.Errorf("unknown command %q (see %s --help)", name, cmd.CommandPath())}
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, but was given %q", cmd.CommandPath(), args[0])}
	}
	return nil
}
