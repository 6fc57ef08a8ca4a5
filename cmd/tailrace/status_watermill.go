package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

// printWatermill says how the tables of Watermill's forwarder stand.
func (s *statusSettings) printWatermill(ctx context.Context, w io.Writer, db *sql.DB) error {
	status, err := within(ctx, s.timeout, func(ctx context.Context) (watermillsql.TableStatus, error) {
		return watermillsql.Inspect(ctx, s.watermill.tables(db))
	})
	switch {
	case err != nil:
		return err
	case s.json:
		return printWatermillJSON(w, status)
	}
	return printWatermillStatus(w, status)
}

// printWatermillJSON prints one object. Ages are in seconds.
func printWatermillJSON(w io.Writer, status watermillsql.TableStatus) error {
	return json.NewEncoder(w).Encode(struct {
		Messages    string  `json:"messages"`
		Offsets     string  `json:"offsets"`
		Group       string  `json:"consumer_group"`
		Started     bool    `json:"started"`
		Transaction int64   `json:"transaction"`
		Offset      int64   `json:"offset"`
		Behind      int64   `json:"behind"`
		Oldest      float64 `json:"oldest_behind_age_seconds"`
		Writer      int     `json:"writer_pid,omitempty"`
		WritesFor   float64 `json:"writer_age_seconds,omitempty"`
	}{
		status.Messages, status.Offsets, status.ConsumerGroup, status.Started, status.Transaction, status.Offset,
		status.Behind, status.Oldest.Seconds(), status.Writer, status.WritesFor.Seconds(),
	})
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
