package kafka_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func TestMailboxConfigReportsAllFaults(t *testing.T) {
	t.Parallel()
	_, err := kafka.NewMailbox(kafka.MailboxConfig{Topic: "a b", QuietTime: -1})
	require.ErrorIs(t, err, kafka.ErrConfig)
	for _, want := range []string{"Brokers", "Topic", "QuietTime"} {
		require.ErrorContains(t, err, want)
	}
}

func TestClosedMailbox(t *testing.T) {
	t.Parallel()
	mailbox, err := kafka.NewMailbox(kafka.MailboxConfig{Config: kafka.Config{Brokers: []string{"localhost:1"}}, Topic: "letters"})
	require.NoError(t, err)
	require.NoError(t, mailbox.Close())
	require.NoError(t, mailbox.Close())
	_, err = mailbox.Partitions(t.Context())
	require.ErrorIs(t, err, kafka.ErrClosed)
	require.ErrorIs(t, mailbox.Commit(t.Context(), 0, 1, ""), kafka.ErrClosed)
	err = mailbox.Read(t.Context(), 0, 0, 1, func(deadletter.Record) error { return nil })
	require.ErrorIs(t, err, kafka.ErrClosed)
}

// TestMailboxGivenUpWhileItOpensAPartition leaves nothing that reads: TestMain looks for it.
func TestMailboxGivenUpWhileItOpensAPartition(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "letters", 1, nil)
	require.NoError(t, newPublisher(t, broker).Publish("letters", message.NewMessage("1", nil)))
	mailbox, err := kafka.NewMailbox(kafka.MailboxConfig{Config: kafka.Config{Brokers: broker.Brokers()}, Topic: "letters"})
	require.NoError(t, err)
	_, err = mailbox.Partitions(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		err = mailbox.Read(ctx, 0, 0, 1, func(deadletter.Record) error { return nil })
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoError(t, mailbox.Read(t.Context(), 0, 0, 1, func(deadletter.Record) error { return nil }))
	require.NoError(t, mailbox.Close())
}

// The dead-letter topic for deadletter.Requeue. It connects when it is first asked for something.
func ExampleNewMailbox() {
	cluster := kafka.Config{Brokers: []string{"localhost:9092"}}
	mailbox, err := kafka.NewMailbox(kafka.MailboxConfig{Config: cluster, Topic: "marty.dead.letter.queue"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer mailbox.Close()
	config := deadletter.Config{Mailbox: mailbox, Filter: deadletter.Filter{Handler: "welcome"}}
	fmt.Println(config.Validate())
	// Output: <nil>
}
