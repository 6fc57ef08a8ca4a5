package consumer_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// TestOnKafkaARequeuedMessageIsHandled: two services read one topic, and one of them fails.
func TestOnKafkaARequeuedMessageIsHandled(t *testing.T) {
	t.Parallel()
	s, seen := newOnKafka(t), &journal{}
	var mended atomic.Bool
	s.consume(t, consumer.Handle(userCreated, func(_ context.Context, event consumer.Event[user]) error {
		if event.AggregateID == "bob" && !mended.Load() {
			return consumer.Permanent(errors.New("no such mailbox"))
		}
		seen.note("welcome " + event.AggregateID + event.Meta.Headers.Get(deadletter.HeaderRequeues))
		return nil
	}))
	s.other(t, "audit", consumer.Handle(userCreated, func(_ context.Context, event consumer.Event[user]) error {
		seen.note("audit " + event.AggregateID)
		return nil
	}))
	bob, err := userCreated.Publish(t.Context(), s.bus, "bob", user{})
	require.NoError(t, err)
	seen.await(t, "audit bob")

	var letters []bustest.Record
	for died := range 3 {
		letters = s.broker.WaitRecords(t, s.letters, died+1, patience)
		requeues, _ := letters[died].Header(deadletter.HeaderRequeues)
		if died > 0 {
			require.Equal(t, strconv.Itoa(died), requeues, "the count outlives each death")
		}
		_, requeued := letters[died].Header(deadletter.HeaderRequeuedFor)
		require.False(t, requeued, "and nothing else does")
		mended.Store(died == 2)
		s.requeue(t)
	}
	seen.await(t, "welcome bob3")
	original := find(t, letters, bob)
	for i, record := range s.broker.Records(t, s.topic) {
		require.Equal(t, original.Value, record.Value)
		require.Equal(t, "bob", string(record.Key), i)
	}
	require.Len(t, s.broker.Records(t, s.topic), 4)

	// The other handler has read them all once it handles what comes after.
	_, err = userCreated.Publish(t.Context(), s.bus, "bob", user{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return seen.count("audit bob") >= 2 }, patience, 5*time.Millisecond)
	require.Equal(t, 2, seen.count("audit bob"), "it leaves the others' requeues alone")
	require.Len(t, s.broker.Records(t, s.letters), 3)
}

func (s *onKafka) requeue(t *testing.T) {
	t.Helper()
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: s.config()})
	require.NoError(t, err)
	defer sender.Close()
	mailbox, err := kafka.NewMailbox(kafka.MailboxConfig{Config: s.config(), Topic: s.letters})
	require.NoError(t, err)
	defer mailbox.Close()
	report, err := deadletter.Requeue(t.Context(), deadletter.Config{Mailbox: mailbox, Sender: sender})
	require.NoError(t, err)
	require.Equal(t, 1, report.Outcomes[deadletter.Requeued])
}

// other runs a handler of that name in a group of its own, which skips what was requeued for others.
func (s *onKafka) other(t *testing.T, name string, handle message.NoPublishHandlerFunc) {
	t.Helper()
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{Config: s.config(), ConsumerGroup: name}, watermill.NopLogger{})
	require.NoError(t, err)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	require.NoError(t, err)
	router.AddPlugin(consumer.Plugin(consumer.Config{DeadLetter: consumer.DeadLetterConfig{Publisher: s.publisher, Naming: s.naming}}))
	consumer.Add(router, name, subscriber, s.topic, handle).AddMiddleware(consumer.SkipOthersRequeues)
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.Background()) }()
	t.Cleanup(func() {
		require.NoError(t, router.Close())
		require.NoError(t, await(t, ended))
	})
}
