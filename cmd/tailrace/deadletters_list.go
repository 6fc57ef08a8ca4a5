package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/deadletter"
)

// listSettings are what `tailrace deadletters list` and `show` can be told.
type listSettings struct {
	letterSettings

	settled, json, payload bool
}

func listLettersCommand() *cobra.Command {
	s := &listSettings{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the oldest first",
		Long: `List the dead letters that are not settled yet, the oldest first: when and why each died, where it came
from and how often it was tried. No payload is shown. It reads only.`,
	}
	define(&s.settings, cmd, &s.json, setting{flag: "json", kind: "bool", text: "false"}, "one JSON object a line instead of a table", parseBool)
	s.defineSettled(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return s.run(cmd, func(w io.Writer, letters []listed) error {
			if s.json {
				return printJSON(w, letters, false)
			}
			return printTable(w, letters)
		})
	}
	return cmd
}

func showLettersCommand() *cobra.Command {
	s := &listSettings{}
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show dead letters with all their headers",
		Long: `Show the dead letters that are not settled yet with all their headers, the oldest first; the payload only
when asked for. It reads only.`,
	}
	define(&s.settings, cmd, &s.payload, setting{flag: "payload", kind: "bool", text: "false"}, "show the payload too", parseBool)
	define(&s.settings, cmd, &s.json, setting{flag: "json", kind: "bool", text: "false"}, "one JSON object a line instead of text", parseBool)
	s.defineSettled(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return s.run(cmd, func(w io.Writer, letters []listed) error {
			if s.json {
				return printJSON(w, letters, s.payload)
			}
			return printLetters(w, letters, s.payload)
		})
	}
	return cmd
}

func (s *listSettings) defineSettled(cmd *cobra.Command) {
	define(&s.settings, cmd, &s.settled, setting{flag: "settled", kind: "bool", text: "false"}, "also letters that were requeued or discarded", parseBool)
	s.define(cmd)
}

type listed struct {
	deadletter.Letter

	bytes   int
	settled bool
}

func (s *listSettings) run(cmd *cobra.Command, show func(io.Writer, []listed) error) (err error) {
	shared, err := s.resolve(cmd)
	if err != nil {
		return err
	}
	mailbox, err := s.mailbox(cmd, shared)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mailbox.Close()) }()
	var letters []listed
	err = deadletter.List(cmd.Context(), mailbox, s.filter, s.settled, func(l deadletter.Letter, settled bool) error {
		one := listed{l, len(l.Value), settled}
		if !s.payload {
			one.Value = nil // a topic of large letters must fit
		}
		letters = append(letters, one)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(letters, func(a, b listed) int { return a.Died().Compare(b.Died()) })
	if s.limit > 0 && len(letters) > s.limit {
		letters = letters[:s.limit]
	}
	return show(cmd.OutOrStdout(), letters)
}

func printTable(w io.Writer, letters []listed) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DIED\tLETTER\tSOURCE\tTOPIC\tKEY\tEVENT\tHANDLER\tATTEMPTS\tREQUEUES\tREASON")
	for _, l := range letters {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", moment(l.Died()), place(l.Letter), visible(l.Source), visible(l.Topic),
			short(visible(string(l.Key)), 36), visible(l.EventID), visible(l.Handler), l.Attempts, l.Requeues, short(visible(l.Reason), 100))
	}
	return table.Flush()
}

// place is where the letter itself stands.
func place(l deadletter.Letter) string { return fmt.Sprintf("%d/%d", l.Partition, l.Offset) }

func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// visible keeps what a sender put into a letter from giving orders to a terminal.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, text)
}

func short(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}

func printLetters(w io.Writer, letters []listed, payload bool) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	for i, l := range letters {
		if i > 0 {
			fmt.Fprintln(w)
		}
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		row := func(name, value string) { fmt.Fprintf(table, "%s\t%s\n", visible(name), visible(value)) }
		row("letter", place(l.Letter))
		row("sent", l.Time.UTC().Format(time.RFC3339Nano))
		if l.settled {
			row("settled", "true")
		}
		if l.Key != nil {
			row("key", string(l.Key))
		}
		for _, header := range l.Headers {
			row(header.Key, string(header.Value))
		}
		row("payload bytes", strconv.Itoa(l.bytes))
		if payload {
			row("payload", string(l.Value))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// letterJSON is a letter as --json shows it. Times are RFC 3339.
type letterJSON struct {
	Letter struct {
		Partition int32     `json:"partition"`
		Offset    int64     `json:"offset"`
		Time      time.Time `json:"time"`
	} `json:"letter"`
	EventID      string            `json:"event_id"`
	Source       string            `json:"source"`
	Topic        string            `json:"topic"`
	Partition    *int32            `json:"partition,omitempty"`
	Offset       *int64            `json:"offset,omitempty"`
	Key          *string           `json:"key"`
	Handler      string            `json:"handler,omitempty"`
	Attempts     int               `json:"attempts"`
	Requeues     int               `json:"requeues"`
	Reason       string            `json:"reason"`
	FirstFailure time.Time         `json:"first_failure,omitzero"`
	LastFailure  time.Time         `json:"last_failure,omitzero"`
	Row          int64             `json:"row,omitempty"`
	Settled      bool              `json:"settled"`
	PayloadBytes int               `json:"payload_bytes"`
	Omitted      int               `json:"payload_omitted,omitempty"`
	Headers      map[string]string `json:"headers,omitempty"`
	Payload      json.RawMessage   `json:"payload,omitempty"`
	Base64       string            `json:"payload_base64,omitempty"`
}

// printJSON prints one object a line; a payload that is no JSON in base64.
func printJSON(w io.Writer, letters []listed, payload bool) error {
	encoder := json.NewEncoder(w)
	for _, l := range letters {
		out := letterJSON{
			EventID: l.EventID, Source: l.Source, Topic: l.Topic, Handler: l.Handler, Attempts: l.Attempts,
			Requeues: l.Requeues, Reason: l.Reason, FirstFailure: l.FirstFailure, LastFailure: l.LastFailure, Row: l.Row,
			Settled: l.settled, PayloadBytes: l.bytes, Omitted: l.Omitted, Headers: map[string]string{},
		}
		out.Letter.Partition, out.Letter.Offset, out.Letter.Time = l.Partition, l.Offset, l.Time.UTC()
		if l.FromPartition >= 0 {
			out.Partition = &l.FromPartition
		}
		if l.FromOffset >= 0 {
			out.Offset = &l.FromOffset
		}
		if l.Key != nil {
			key := string(l.Key)
			out.Key = &key
		}
		for _, header := range l.Headers {
			out.Headers[header.Key] = string(header.Value)
		}
		switch {
		case !payload:
		case json.Valid(l.Value):
			out.Payload = l.Value
		default:
			out.Base64 = base64.StdEncoding.EncodeToString(l.Value)
		}
		if err := encoder.Encode(out); err != nil {
			return err
		}
	}
	return nil
}
