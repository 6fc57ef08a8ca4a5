package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

func statusCommand() *cobra.Command {
	var s settings
	var database databaseSettings
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how an outbox stands",
		Long: `Say how an outbox stands: its version, the events that wait and those that are dead, and how many ids
are left. It reads only.`,
	}
	database.define(&s, cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := badConfiguration(s.resolve(cmd.Flags(), os.LookupEnv), database.check()); err != nil {
			return err
		}
		db := database.open(2)
		defer func() { _ = db.Close() }()
		status, err := outbox.Status(cmd.Context(), db, database.table)
		if err != nil {
			if errors.Is(err, outbox.ErrNoTable) {
				return fmt.Errorf("%w\nrun this, with the same DATABASE_URL: %s", err, database.migrateCommandFor())
			}
			return err
		}
		return printStatus(cmd.OutOrStdout(), status)
	}
	return cmd
}

func printStatus(w io.Writer, status outbox.TableStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "table\t%s\n", status.Table)
	fmt.Fprintf(table, "version\t%d of %d\n", status.Version, status.Latest)
	fmt.Fprintf(table, "rows\tabout %d\n", max(status.Rows, 0))
	pending := fmt.Sprint(status.Pending)
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
