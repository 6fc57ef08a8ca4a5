package main

import (
	"database/sql"
	"errors"
	"time"

	"github.com/spf13/cobra"
)

// statusSettings are what `tailrace status` can be told.
type statusSettings struct {
	outboxSettings

	watermill watermillSettings
	json      bool
	timeout   time.Duration
}

func statusCommand() *cobra.Command {
	s := &statusSettings{}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how an outbox stands, or several",
		Long: `Say how an outbox stands: who owns it and when that process was last heard of, the events that wait and
those that are dead, its version and how many ids are left; of an outbox that is split, for each shard. Several
outboxes, given as to tailrace forward, have a line each, which ends with their troubles. It reads only.

A database that is away hides no outbox of another one. It makes the exit code 1, as a missing table does; what
the outboxes' troubles are does not.

With --watermill-topic it says how the tables of Watermill's forwarder stand in place of an outbox.`,
	}
	s.shareOutboxes(cmd)
	s.defineGroup(cmd, "the group whose processes are counted as members")
	define(&s.settings, cmd, &s.json, setting{flag: "json", kind: "bool", text: "false"}, "one JSON object a line, for each table, instead of text", parseBool)
	define(&s.settings, cmd, &s.timeout, setting{flag: "timeout", kind: "duration", text: "10s"},
		"how long the databases may take to answer; one that takes longer counts as away", parseDuration(time.Millisecond))
	s.watermill.defineTables(&s.settings, cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.run(cmd) }
	return cmd
}

func (s *statusSettings) run(cmd *cobra.Command) error {
	shared, outboxes, err := s.outboxes(cmd.Flags(), environment())
	if err := badConfiguration(err); err != nil {
		return err
	}
	if err := badConfiguration(s.watermill.check(cmd.Flags()), s.watermill.alone(s.more)); err != nil {
		return err
	}
	databases, err := outboxes.open(func(one address) (*sql.DB, error) { return openDatabase(one.database, 4) })
	if err != nil {
		return err
	}
	defer databases.close()
	out := cmd.OutOrStdout()
	if s.watermill.topic != "" {
		return s.printWatermill(cmd.Context(), out, databases[shared.DatabaseURL])
	}
	views := outboxes.look(cmd.Context(), databases, s.group, s.timeout)
	switch {
	case s.json:
		err = views.printJSON(out)
	case len(views) == 1:
		err = views[0].print(out)
	default:
		err = views.print(out)
	}
	return errors.Join(err, views.failed(shared.DatabaseURL))
}
