package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// member runs a router of one handler as a member of the group until it is stopped.
func (s *onKafka) member(t *testing.T, resend time.Duration, config consumer.Config, handle message.NoPublishHandlerFunc) (stop func()) {
	t.Helper()
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Config: s.config(), ConsumerGroup: "mailer", NackResendSleep: resend,
		Sarama: func(settings *sarama.Config) {
			settings.Consumer.Group.Heartbeat.Interval = 50 * time.Millisecond
			settings.Consumer.Group.Rebalance.Timeout = 5 * time.Minute
			settings.Consumer.MaxWaitTime = 100 * time.Millisecond
		},
	}, watermill.NopLogger{})
	require.NoError(t, err)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	require.NoError(t, err)
	config.DeadLetter = consumer.DeadLetterConfig{Publisher: s.publisher, Naming: s.naming}
	config.RebalanceTimeout = 5 * time.Minute
	router.AddPlugin(consumer.Plugin(config))
	consumer.Add(router, "welcome", subscriber, s.topic, handle)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, await(t, ended))
	})
	t.Cleanup(stop)
	return stop
}

// TestOnKafkaARebalanceInTheMiddleOfARetry: the first member has every partition, each with a message that
// it is retrying or still handling, when a second one joins. Without the end of the session these would
// go on for two minutes.
func TestOnKafkaARebalanceInTheMiddleOfARetry(t *testing.T) {
	t.Parallel()
	s, seen := newOnKafka(t), &journal{}
	const users = 30
	first := map[int32]string{} // by partition
	for i := range users {
		id := fmt.Sprintf("user-%02d", i)
		_, err := userCreated.Publish(t.Context(), s.bus, id, user{})
		require.NoError(t, err)
		if partition := kafka.PartitionFor([]byte(id), 3); first[partition] == "" {
			first[partition] = id
		}
	}
	require.Len(t, first, 3)
	patient := consumer.Config{
		Timeout: 2 * time.Minute,
		Retry:   consumer.RetryConfig{InitialInterval: time.Minute, MaxInterval: time.Minute, MaxElapsed: 2 * time.Minute},
	}
	met := map[string]bool{}
	var mu sync.Mutex
	s.member(t, time.Minute, patient, consumer.Handle(userCreated, func(ctx context.Context, event consumer.Event[user]) error {
		mu.Lock()
		again := met[event.AggregateID]
		met[event.AggregateID] = true
		mu.Unlock()
		switch {
		case again || first[event.Meta.Origin.Partition] != event.AggregateID:
			seen.note("first member " + event.AggregateID)
			seen.note(event.AggregateID)
			return nil
		case event.Meta.Origin.Partition == 0:
			seen.note("blocking")
			<-ctx.Done()
			seen.note("interrupted")
			return errors.New("connection closed") // as drivers do
		default:
			seen.note("retrying")
			return errors.New("no such mailbox")
		}
	}))
	seen.await(t, "blocking")
	require.Eventually(t, func() bool { return seen.count("retrying") == 2 }, patience, 5*time.Millisecond)

	began := time.Now()
	s.member(t, time.Minute, patient, consumer.Handle(userCreated, func(_ context.Context, event consumer.Event[user]) error {
		seen.note("second member")
		seen.note(event.AggregateID)
		return nil
	}))
	for i := range users {
		seen.await(t, fmt.Sprintf("user-%02d", i))
	}
	t.Logf("everything was handled %s after the second member came", time.Since(began))
	require.Equal(t, 1, seen.count("interrupted"))
	require.Equal(t, 2, seen.count("retrying"), "a retry that was interrupted did not run")
	require.Positive(t, seen.count("second member"), "the new owner handled what was taken away")
	require.Empty(t, s.broker.Records(t, s.letters), "an interruption is not the message's error")
}

func TestOnKafkaAKeptMessageDoesNotSpin(t *testing.T) {
	t.Parallel()
	s := newOnKafka(t)
	_, err := userCreated.Publish(t.Context(), s.bus, "ada", user{})
	require.NoError(t, err)
	const resend = 100 * time.Millisecond
	runs := make(chan time.Time, 1000)
	s.member(t, resend, once, consumer.Handle(userCreated, func(context.Context, consumer.Event[user]) error {
		runs <- time.Now()
		return consumer.Outage(errors.New("database away"))
	}))
	last := await(t, runs)
	for range 4 {
		run := await(t, runs)
		require.GreaterOrEqual(t, run.Sub(last), resend)
		last = run
	}
	require.Empty(t, s.broker.Records(t, s.letters))
}

// TestOnKafkaAKeptMessageHoldsNobodyUp: neither a rebalance nor a shutdown waits for NackResendSleep.
func TestOnKafkaAKeptMessageHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	s := newOnKafka(t)
	_, err := userCreated.Publish(t.Context(), s.bus, "ada", user{})
	require.NoError(t, err)
	runs := make(chan time.Time, 1000)
	kept := consumer.Handle(userCreated, func(context.Context, consumer.Event[user]) error {
		runs <- time.Now()
		return consumer.Outage(errors.New("database away"))
	})
	began := time.Now()
	first := s.member(t, time.Hour, once, kept)
	await(t, runs)
	second := s.member(t, time.Hour, once, kept)
	await(t, runs) // by the owner after the rebalance
	first()
	second()
	require.Less(t, time.Since(began), time.Minute)
	require.Empty(t, s.broker.Records(t, s.letters))
}

// once tries a message once a delivery.
var once = consumer.Config{Retry: consumer.RetryConfig{MaxRetries: -1}}
