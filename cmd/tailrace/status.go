package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

func statusCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how an outbox stands",
		Long: `Say how an outbox stands: its version, the events that wait and those that are dead, and how many ids
are left. It reads only.`,
	}
	s.shareDatabase(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		shared, err := s.connect(cmd.Flags(), environment(), true)
		if err != nil {
			return badConfiguration(err)
		}
		db, err := openDatabase(shared.DatabaseURL, 2)
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		status, err := outbox.Status(cmd.Context(), db, shared.OutboxTable)
		if err != nil {
			return explain(err, shared.OutboxTable)
		}
		return printStatus(cmd.OutOrStdout(), status)
	}
	return cmd
}

func printStatus(w io.Writer, status outbox.TableStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "table\t%s\n", status.Table)
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
