package main

import (
	"context"
	"errors"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// requeue sends the dead letters of a handler back to where they came from, and returns them. An operator
// says `tailrace deadletters requeue`.
func (a *app) requeue(ctx context.Context, handler string) (sent []deadletter.Letter, err error) {
	names, err := a.topics()
	if err != nil {
		return nil, err
	}
	mailbox, err := kafka.NewMailbox(kafka.MailboxConfig{Config: a.settings.Kafka(), Topic: names.deadLetters})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mailbox.Close()) }()
	_, err = deadletter.Requeue(ctx, deadletter.Config{
		Mailbox: mailbox, Sender: a.sender, Filter: deadletter.Filter{Handler: handler},
		Tell: func(letter deadletter.Letter, fate deadletter.Fate) {
			if fate.Outcome == deadletter.Requeued {
				sent = append(sent, letter)
			}
		},
	})
	return sent, err
}
