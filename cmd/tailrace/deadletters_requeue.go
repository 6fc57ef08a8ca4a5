package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// requeueSettings are what `tailrace deadletters requeue` and `discard` can be told.
type requeueSettings struct {
	letterSettings

	all, dryRun bool
	maxRequeues int
}

func requeueCommand() *cobra.Command {
	s := &requeueSettings{}
	cmd := &cobra.Command{
		Use:   "requeue",
		Short: "Send dead letters back to where they came from",
		Long: `Send dead letters back to where they came from, up to the end of the dead-letter topic as it is now.

A letter of a consumer goes to its original topic with its key, payload, event id and headers, and with a
dead_letter_requeues header that counts how often. Every consumer group of that topic sees it again.
A letter of an outbox is not sent: its row is made pending again, for which --database-url names the
outbox's database, and the forwarder delivers it. Without that, these letters are left.

What is requeued is noted once the broker has acknowledged it. A run that was interrupted may be run
again: it goes on where that one stopped, and sends at most the last hundred letters twice. Letters that
the flags did not choose, and letters that are left or failed, stay for later runs. It exits with 1 when
a letter could not be sent.`,
	}
	s.choose(cmd, "requeued")
	define(&s.settings, cmd, &s.maxRequeues, setting{flag: "max-requeues", kind: "count", text: strconv.Itoa(deadletter.DefaultMaxRequeues)},
		"how often one message may be requeued in all; those that died each time are left", parseCount(1, math.MaxInt32))
	s.share(cmd, setting{flag: "database-url", variable: "DATABASE_URL", kind: "url"},
		"database of the outbox whose dead events are to be sent again. Other users of the machine can see a flag")
	s.share(cmd, setting{flag: "table", variable: "EVENT_OUTBOX_TABLE", kind: "name"},
		"the outbox table, with its schema if that is not on the search path")
	s.define(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.requeue(cmd) }
	return cmd
}

func discardCommand() *cobra.Command {
	s := &requeueSettings{}
	cmd := &cobra.Command{
		Use:   "discard",
		Short: "Settle dead letters without sending them",
		Long: `Settle dead letters without sending them: they are listed and requeued no more. The records stay in the
dead-letter topic for as long as it keeps them; rows of an outbox stay as they are.`,
	}
	s.choose(cmd, "discarded")
	s.define(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.discard(cmd) }
	return cmd
}

func (s *requeueSettings) choose(cmd *cobra.Command, done string) {
	define(&s.settings, cmd, &s.all, setting{flag: "all", kind: "bool", text: "false"}, "every letter is meant, when no other flag chooses some", parseBool)
	define(&s.settings, cmd, &s.dryRun, setting{flag: "dry-run", kind: "bool", text: "false"}, "only say what would be "+done, parseBool)
}

// chosen refuses to take everything when nobody said so.
func (s *requeueSettings) chosen(cmd *cobra.Command) error {
	choosing := []string{"all", "topic", "handler", "source", "reason", "event-id", "since", "until", "limit"}
	if slices.ContainsFunc(choosing, cmd.Flags().Changed) {
		return nil
	}
	return errors.New("no letter is chosen: choose some with --topic, --handler, --source, --reason, --event-id, --since, --until or --limit, or take --all")
}

func (s *requeueSettings) requeue(cmd *cobra.Command) error {
	return s.open(cmd, func(shared connect.Config, config deadletter.Config) (err error) {
		sender, err := kafka.NewSender(kafka.SenderConfig{Config: cluster(shared), Logger: s.log.logger(cmd.ErrOrStderr())})
		if err != nil {
			return badConfiguration(err)
		}
		defer func() { err = errors.Join(err, sender.Close()) }()
		config.Sender, config.MaxRequeues = sender, s.maxRequeues
		if shared.DatabaseURL != "" {
			db, err := openDatabase(shared.DatabaseURL, 1)
			if err != nil {
				return err
			}
			defer func() { _ = db.Close() }()
			if config.Outbox, err = outbox.NewReviver(db, shared.OutboxTable); err != nil {
				return badConfiguration(err)
			}
		}
		report, err := deadletter.Requeue(cmd.Context(), config)
		return s.report(cmd, report, err)
	})
}

func (s *requeueSettings) discard(cmd *cobra.Command) error {
	return s.open(cmd, func(_ connect.Config, config deadletter.Config) error {
		report, err := deadletter.Discard(cmd.Context(), config)
		return s.report(cmd, report, err)
	})
}

// open opens the dead-letter topic for as long as use takes.
func (s *requeueSettings) open(cmd *cobra.Command, use func(connect.Config, deadletter.Config) error) (err error) {
	shared, err := s.resolve(cmd, s.chosen(cmd))
	if err != nil {
		return err
	}
	mailbox, err := s.mailbox(cmd, shared)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mailbox.Close()) }()
	return use(shared, s.config(cmd, mailbox))
}

func (s *requeueSettings) config(cmd *cobra.Command, mailbox deadletter.Mailbox) deadletter.Config {
	return deadletter.Config{
		Mailbox: mailbox, Filter: s.filter, Limit: s.limit, DryRun: s.dryRun,
		Tell: func(l deadletter.Letter, fate deadletter.Fate) {
			if s.dryRun || fate.Err != nil {
				printFate(cmd.OutOrStdout(), l, fate)
			}
		},
	}
}

// printFate says in a line what became of a letter.
func printFate(w io.Writer, l deadletter.Letter, fate deadletter.Fate) {
	line := fmt.Sprintf("%s: %s of event %s, to %s", fate.Outcome, place(l), visible(l.EventID), visible(l.Topic))
	if fate.Err != nil {
		line += ": " + visible(fate.Err.Error())
	}
	fmt.Fprintln(w, line)
}

// report says how many letters were settled, and that it is not well if some could not be sent.
func (s *requeueSettings) report(cmd *cobra.Command, report deadletter.Report, err error) error {
	var counts []string
	for outcome, n := range report.Outcomes {
		counts = append(counts, fmt.Sprintf("%s %d", outcome, n))
	}
	slices.Sort(counts)
	if len(counts) == 0 {
		counts = []string{"nothing to do"}
	}
	prefix := ""
	if s.dryRun {
		prefix = "dry run: "
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s%s (letters read: %d, chosen: %d)\n", prefix, strings.Join(counts, ", "), report.Read, report.Chosen)
	if err != nil && cmd.Context().Err() != nil {
		return fmt.Errorf("interrupted, and what was done is noted: run it again to go on: %w", err)
	}
	if n := report.Outcomes[deadletter.Failed]; n > 0 && err == nil {
		return fmt.Errorf("%d letters could not be sent and stay: mend the cause, and run again", n)
	}
	return err
}
