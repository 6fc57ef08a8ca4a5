package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// migrateSettings are what `tailrace migrate` can be told.
type migrateSettings struct {
	settings

	log            logSettings
	print, rewrite bool
	partitioned    bool
	partitionRows  int
	lockTimeout    time.Duration
	// shards is into how many the outbox is split, 0 to leave it as it is.
	shards int
	// inbox is the inbox table to make, "" for none.
	inbox string
}

func migrateCommand() *cobra.Command {
	s := &migrateSettings{}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create the outbox table, and with --inbox the inbox's, or bring them up to date beside live publishers",
		Long: `Create the outbox table, or bring the one that is there up to date with its rows, a table made by
the guide's DDL included. Publishers go on writing meanwhile, and any number of processes may migrate
at once: one works, the others wait for it. Running it again does no harm.

With --shards, one outbox is split into so many tables, or into more than it has, while publishers write
and forwarders run; the order within a key is kept if the publishers choose among the shards already
(EVENT_OUTBOX_SHARDS). Shards are never taken away.

With --inbox, the table in which consumers remember what they handled (package bus/inbox) is made, too.
It belongs in the database that the consumers' handlers write to.`,
	}
	s.shareDatabase(cmd)
	define(&s.settings, cmd, &s.print, setting{flag: "print", kind: "bool", text: "false"},
		"print the SQL for psql instead; needs no database", parseBool)
	define(&s.settings, cmd, &s.rewrite, setting{flag: "rewrite", kind: "bool", text: "false"},
		"also widen the ids of a table of any size, which stops publishers for about 4 s a million rows, "+
			"and drop a UNIQUE (event_id) that (event_id, topic) replaces", parseBool)
	define(&s.settings, cmd, &s.partitioned, setting{flag: "partitioned", kind: "bool", text: "false"},
		"make a new table in partitions by id: what is past its retention is dropped then, not deleted", parseBool)
	define(&s.settings, cmd, &s.partitionRows, setting{flag: "partition-rows", kind: "rows", text: "0"},
		fmt.Sprintf("how many events a partition has that is made from now on; 0 is as many as the one before, %d for the first", outbox.DefaultPartitionRows),
		parsePartitionRows)
	define(&s.settings, cmd, &s.lockTimeout, setting{flag: "lock-timeout", kind: "duration", text: outbox.DefaultLockTimeout.String()},
		"how long a step may wait for a lock that stops publishers before it is tried again later", parseDuration(time.Millisecond))
	define(&s.settings, cmd, &s.shards, setting{flag: "shards", kind: "count", text: "0"},
		"split the outbox into so many tables; 0 leaves it as it is", parseCount(0, outbox.MaxShards))
	define(&s.settings, cmd, &s.inbox, setting{flag: "inbox", kind: "name", text: ""},
		"also make the inbox table; its name, with its schema if that is not on the search path, follows an = sign", parseInboxTable)
	cmd.Flags().Lookup("inbox").NoOptDefVal = inbox.DefaultTable
	s.log.define(&s.settings, cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.run(cmd) }
	return cmd
}

func parsePartitionRows(text string) (int, error) {
	if text == "0" {
		return 0, nil
	}
	return parseCount(outbox.MinPartitionRows, 1_000_000_000)(text)
}

// parseInboxTable lets bus/inbox judge the name.
func parseInboxTable(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	return text, inbox.CheckName(text)
}

func (s *migrateSettings) run(cmd *cobra.Command) error {
	environ := environment()
	faults := s.resolve(cmd.Flags(), environ)
	shared, err := s.connect(cmd.Flags(), environ, !s.print)
	if err := badConfiguration(err, faults); err != nil {
		return err
	}
	if s.print {
		return s.printSQL(cmd.OutOrStdout(), shared.OutboxTable)
	}
	db, err := openDatabase(shared.DatabaseURL, 2)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	began := time.Now()
	report, err := outbox.Migrate(cmd.Context(), db, outbox.MigrateConfig{
		Table: shared.OutboxTable, Shards: s.shards, Rewrite: s.rewrite, Partitioned: s.partitioned, PartitionRows: int64(s.partitionRows),
		LockTimeout: s.lockTimeout, Logger: s.log.logger(cmd.ErrOrStderr()),
	})
	if err != nil {
		return err
	}
	for _, one := range append([]outbox.Report{report}, report.Shards...) {
		printReport(cmd.OutOrStdout(), one, time.Since(began))
	}
	if s.inbox == "" {
		return nil
	}
	began = time.Now()
	made, err := inbox.Migrate(cmd.Context(), db, inbox.MigrateConfig{
		Table: s.inbox, LockTimeout: s.lockTimeout, Logger: s.log.logger(cmd.ErrOrStderr()),
	})
	if err != nil {
		return err
	}
	printReport(cmd.OutOrStdout(), outbox.Report{Table: made.Table, From: made.From, To: made.To, Created: made.Created}, time.Since(began))
	return nil
}

func (s *migrateSettings) printSQL(w io.Writer, outboxTable string) error {
	printOutbox := outbox.PrintMigrations
	if s.partitioned {
		printOutbox = func(w io.Writer, table string) error {
			return outbox.PrintPartitionedMigrations(w, table, int64(s.partitionRows))
		}
	}
	if err := printOutbox(w, outboxTable); err != nil {
		return err
	}
	if s.shards > 0 {
		fmt.Fprintln(w)
		if err := outbox.PrintShards(w, outbox.MigrateConfig{Table: outboxTable, Shards: s.shards, Partitioned: s.partitioned, PartitionRows: int64(s.partitionRows)}); err != nil {
			return err
		}
	}
	if s.inbox == "" {
		return nil
	}
	fmt.Fprintln(w)
	return inbox.PrintMigrations(w, s.inbox)
}

// printReport says in sentences what was done and what is left.
func printReport(w io.Writer, report outbox.Report, took time.Duration) {
	took = took.Round(time.Millisecond)
	switch {
	case report.Created:
		fmt.Fprintf(w, "created %s, version %d, in %s\n", report.Table, report.To, took)
	case report.From != report.To:
		fmt.Fprintf(w, "brought %s from version %d to %d in %s\n", report.Table, report.From, report.To, took)
	default:
		fmt.Fprintf(w, "%s is up to date at version %d\n", report.Table, report.To)
	}
	for _, list := range []struct {
		word  string
		lines []string
	}{{"done", report.Rewritten}, {"left", report.Postponed}, {"note", report.Warnings}} {
		for _, line := range list.lines {
			fmt.Fprintf(w, "  %s: %s\n", list.word, line)
		}
	}
}
