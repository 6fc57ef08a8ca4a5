package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// print has a line for each table of each outbox.
func (all views) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "OUTBOX\tOWNER\tOWNED SINCE\tLAST BEAT\tMEMBERS\tPENDING\tOLDEST\tRETRYING\tBLOCKED\tDEAD\tTROUBLE")
	for _, v := range all {
		for _, s := range v.tables {
			v.printLine(table, s)
		}
		if v.err != nil {
			fmt.Fprintf(table, "%s%s\t%s\n", v.name, strings.Repeat("\t?", 9), oneLine(v.err.Error()))
		}
	}
	return table.Flush()
}

func (v view) printLine(w io.Writer, s standing) {
	owner, since, beat, oldest := "nobody", "-", "-", "-"
	if s.Owner != "" {
		owner, since, beat = visible(s.Owner), moment(s.OwnedSince), span(s.LastBeat)+" ago"
	}
	if s.Pending > 0 {
		oldest = span(s.OldestPending)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%d\t%d\t%d\t%s\n", s.name, owner, since, beat, v.members(),
		s.Pending, oldest, s.Retrying, s.Blocked, s.Dead, oneLine(strings.Join(v.troubles(s), "; ")))
}

// span is a duration with as many digits as anybody reads.
func span(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// oneLine keeps a cell in its line.
func oneLine(text string) string { return visible(strings.Join(strings.Fields(text), " ")) }

// print says all about one outbox, as far as it could be seen.
func (v view) print(w io.Writer) error {
	for i, s := range v.tables {
		if i > 0 {
			fmt.Fprintln(w)
		}
		place := ""
		if len(v.tables) > 1 {
			place = fmt.Sprintf("%d of %d", i+1, len(v.tables))
		}
		if !s.shard.Open() {
			place += ", not open yet: its events wait for older ones of their keys in the shards before it"
		}
		if err := v.printTable(w, s, place); err != nil {
			return err
		}
	}
	return nil
}

// printTable says how a table stands; shard is which of the outbox's it is, "" for the only one.
func (v view) printTable(w io.Writer, s standing, shard string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(table, name+"\t"+format+"\n", args...) }
	if v.name != v.table {
		line("outbox", "%s", v.name)
	}
	line("table", "%s", s.Table)
	if shard != "" {
		line("shard", "%s", shard)
	}
	line("version", "%d of %d", s.Version, s.Latest)
	if s.Owner == "" {
		line("owner", "nobody: run `tailrace forward`")
	} else {
		line("owner", "%s, for %s, last heard of %s ago", visible(s.Owner), s.Owned.Round(time.Second), span(s.LastBeat))
	}
	if v.members() > 0 {
		outside := ""
		if s.Owner != "" && !v.inGroup(s) {
			outside = "; the owner is none of them"
		}
		line("members", "%d of group %s%s", v.members(), v.group, outside)
	}
	line("rows", "about %d", max(s.Rows, 0))
	pending := strconv.FormatInt(s.Pending, 10)
	if s.Pending > 0 {
		pending += fmt.Sprintf(", the oldest for %s", s.OldestPending.Round(time.Millisecond))
	}
	line("pending", "%s", pending)
	if s.Retrying > 0 {
		line("retrying", "%s", s.refusal())
	}
	line("dead", "%d", s.Dead)
	line("ids", "%d of %d given out, %.1f%% left", s.LastID, s.MaxID, 100*s.Headroom())
	if s.Partitions > 0 {
		line("partitions", "%d, with room for %d more events", s.Partitions, s.Room)
	}
	if len(s.Missing) > 0 {
		line("missing", "%s", strings.Join(s.Missing, ", "))
	}
	for _, text := range s.Postponed {
		line("left", "%s", text)
	}
	for _, text := range s.Warnings {
		line("note", "%s", text)
	}
	return table.Flush()
}
