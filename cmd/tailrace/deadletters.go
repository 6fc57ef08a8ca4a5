package main

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// letterSettings are what all commands below `tailrace deadletters` can be told.
type letterSettings struct {
	settings

	log    logSettings
	group  string
	filter deadletter.Filter
	limit  int
}

func deadLettersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deadletters",
		Short: "List, show, requeue or discard what could not be handled or delivered",
		Long: `List, show, requeue or discard dead letters: the copies of messages that no handler could process and of
events that could not be delivered.

Which letters are settled, that is requeued or discarded, is kept as the committed offsets of a consumer
group (--group). One requeue or discard may run at a time in a group.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(listLettersCommand(), showLettersCommand(), requeueCommand(), discardCommand())
	return cmd
}

func (s *letterSettings) define(cmd *cobra.Command) {
	own := &s.settings
	text := func(into *string, flag, kind, usage string) {
		define(own, cmd, into, setting{flag: flag, kind: kind}, usage, parseText)
	}
	text(&s.filter.Topic, "topic", "name", "only letters that came from this topic, named with its prefix")
	text(&s.filter.Handler, "handler", "name", "only letters of this handler")
	text(&s.filter.Source, "source", "name", "only letters of consumers (consumer) or of outboxes (outbox)")
	text(&s.filter.Reason, "reason", "text", "only letters whose reason contains this, upper and lower case being the same")
	text(&s.filter.EventID, "event-id", "id", "only letters of this event")
	define(own, cmd, &s.filter.Since, setting{flag: "since", kind: "time"}, "only letters that died since: 2026-03-01T12:00:00Z, or 2h for two hours ago", parseMoment)
	define(own, cmd, &s.filter.Until, setting{flag: "until", kind: "time"}, "only letters that died before, as --since", parseMoment)
	define(own, cmd, &s.limit, setting{flag: "limit", kind: "count", text: "0"}, "how many letters at most; 0 for all", parseCount(0, math.MaxInt32))
	define(own, cmd, &s.group, setting{flag: "group", variable: "TAILRACE_DEAD_LETTERS_GROUP", kind: "name", text: kafka.DefaultMailboxGroup},
		"consumer group that keeps which letters are settled; no consumer may join it", parseText)
	s.shareKafka(cmd)
	s.share(cmd, setting{flag: "topic-prefix", variable: "EVENT_TOPIC_PREFIX", kind: "name"}, "what stands before the dead-letter topic's name")
	s.share(cmd, setting{flag: "dead-letter-topic", variable: "EVENT_DEAD_LETTER_TOPIC", kind: "name"}, "the dead-letter topic, without the prefix")
	s.log.define(own, cmd)
}

// resolve returns what bus/connect reads, once everything is known to be right.
func (s *letterSettings) resolve(cmd *cobra.Command, more ...error) (connect.Config, error) {
	environ := environment()
	faults := append([]error{s.settings.resolve(cmd.Flags(), environ)}, more...)
	if source := s.filter.Source; source != "" && !slices.Contains([]string{deadletter.SourceConsumer, deadletter.SourceOutbox, deadletter.SourceWatermill}, source) {
		faults = append(faults, errors.New("--source is "+source+": it must be consumer, outbox or watermill"))
	}
	shared, err := s.connect(cmd.Flags(), environ, false)
	return shared, badConfiguration(append(faults, err)...)
}

// mailbox opens the dead-letter topic. It connects to nothing yet.
func (s *letterSettings) mailbox(cmd *cobra.Command, shared connect.Config) (*kafka.Mailbox, error) {
	topic, err := shared.Topics().DeadLetter()
	if err != nil {
		return nil, badConfiguration(err)
	}
	mailbox, err := kafka.NewMailbox(kafka.MailboxConfig{
		Config: cluster(shared), Topic: topic, Group: s.group, Logger: s.log.logger(cmd.ErrOrStderr()),
	})
	return mailbox, badConfiguration(err)
}

func parseText(text string) (string, error) { return text, nil }

// parseMoment takes a time, or how long ago it was. "" is the zero time.
func parseMoment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago, err := parseDuration(0)(text)
	if err != nil {
		return time.Time{}, errors.New("it must be a time such as 2026-03-01T12:00:00Z, or a duration such as 2h or 7d")
	}
	return time.Now().Add(-ago), nil
}
