package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

func statusCommand() *cobra.Command {
	var s settings
	var w watermillSettings
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how an outbox stands",
		Long: `Say how an outbox stands: its version, the events that wait and those that are dead, and how many ids
are left; of an outbox that is split, for each shard. It reads only.

With --watermill-topic it says how the tables of Watermill's forwarder stand in place of an outbox.`,
	}
	s.shareDatabase(cmd)
	w.defineTables(&s, cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		environ := environment()
		shared, err := s.connect(cmd.Flags(), environ, true)
		if err := badConfiguration(err, s.resolve(cmd.Flags(), environ), w.check(cmd.Flags())); err != nil {
			return err
		}
		db, err := openDatabase(shared.DatabaseURL, 2)
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		if w.topic != "" {
			status, err := watermillsql.Inspect(cmd.Context(), w.tables(db))
			if err != nil {
				return err
			}
			return printWatermillStatus(cmd.OutOrStdout(), status)
		}
		return explain(printShards(cmd.Context(), cmd.OutOrStdout(), db, shared.OutboxTable), shared.OutboxTable)
	}
	return cmd
}

// printShards says how each shard of an outbox stands.
func printShards(ctx context.Context, w io.Writer, db *sql.DB, table string) error {
	shards, err := outbox.Shards(ctx, db, table)
	if err != nil {
		return err
	}
	for i, shard := range shards {
		if i > 0 {
			fmt.Fprintln(w)
		}
		status, err := outbox.Status(ctx, db, shard.Table)
		if err != nil {
			return err
		}
		place := ""
		if len(shards) > 1 {
			place = fmt.Sprintf("%d of %d", i+1, len(shards))
		}
		if !shard.Open() {
			place += ", not open yet: its events wait for older ones of their keys in the shards before it"
		}
		if err := printStatus(w, status, place); err != nil {
			return err
		}
	}
	return nil
}

// printStatus says how a table stands; shard is which of an outbox's it is, "" for the only one.
func printStatus(w io.Writer, status outbox.TableStatus, shard string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "table\t%s\n", status.Table)
	if shard != "" {
		fmt.Fprintf(table, "shard\t%s\n", shard)
	}
	fmt.Fprintf(table, "version\t%d of %d\n", status.Version, status.Latest)
	owner := "nobody: run `tailrace forward`"
	if status.Owner != "" {
		owner = fmt.Sprintf("%s, for %s", status.Owner, status.Owned.Round(time.Second))
	}
	fmt.Fprintf(table, "owner\t%s\n", owner)
	fmt.Fprintf(table, "rows\tabout %d\n", max(status.Rows, 0))
	pending := strconv.FormatInt(status.Pending, 10)
	if status.Pending > 0 {
		pending += fmt.Sprintf(", the oldest for %s", status.OldestPending.Round(time.Millisecond))
	}
	fmt.Fprintf(table, "pending\t%s\n", pending)
	fmt.Fprintf(table, "dead\t%d\n", status.Dead)
	fmt.Fprintf(table, "ids\t%d of %d given out, %.1f%% left\n", status.LastID, status.MaxID, 100*status.Headroom())
	if status.Partitions > 0 {
		fmt.Fprintf(table, "partitions\t%d, with room for %d more events\n", status.Partitions, status.Room)
	}
	if len(status.Missing) > 0 {
		fmt.Fprintf(table, "missing\t%s\n", strings.Join(status.Missing, ", "))
	}
	for _, line := range status.Postponed {
		fmt.Fprintf(table, "left\t%s\n", line)
	}
	for _, line := range status.Warnings {
		fmt.Fprintf(table, "note\t%s\n", line)
	}
	return table.Flush()
}

func printWatermillStatus(w io.Writer, status watermillsql.TableStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "messages\t%s\n", status.Messages)
	fmt.Fprintf(table, "offsets\t%s\n", status.Offsets)
	fmt.Fprintf(table, "group\t%q\n", status.ConsumerGroup)
	at := "none: nothing was forwarded for this group"
	if status.Started {
		at = fmt.Sprintf("transaction %d, offset %d", status.Transaction, status.Offset)
	}
	fmt.Fprintf(table, "position\t%s\n", at)
	behind := strconv.FormatInt(status.Behind, 10)
	switch {
	case status.Behind >= watermillsql.Backlog:
		behind += " or more"
		fallthrough
	case status.Behind > 0:
		behind += fmt.Sprintf(", the oldest for %s", status.Oldest.Round(time.Millisecond))
	}
	fmt.Fprintf(table, "behind\t%s\n", behind)
	if status.Behind > 0 && status.Writer != 0 {
		fmt.Fprintf(table, "note\tprocess %d of the server has a transaction open for %s: what was begun later waits for it\n", status.Writer, status.WritesFor.Round(time.Millisecond))
	}
	return table.Flush()
}
