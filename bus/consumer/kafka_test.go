package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// onKafka is a service that publishes to Kafka and consumes from it.
type onKafka struct {
	broker    *bustest.Broker
	publisher *kafka.Publisher
	bus       *bus.Bus
	naming    topics.Naming
	topic     string
	letters   string
}

func newOnKafka(t *testing.T) *onKafka {
	t.Helper()
	s := &onKafka{broker: bustest.Kafka(t), naming: topics.Naming{Prefix: "it"}}
	var err error
	s.topic, err = userCreated.Topic(s.naming, "users")
	require.NoError(t, err)
	s.letters, err = s.naming.DeadLetter()
	require.NoError(t, err)
	s.broker.CreateTopic(t, s.topic, 3, nil)
	s.broker.CreateTopic(t, s.letters, 1, nil)
	s.publisher, err = kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: s.config()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.publisher.Close()) })
	s.bus, err = bus.New(bus.Config{Service: "users", Topics: s.naming, Publisher: s.publisher})
	require.NoError(t, err)
	return s
}

func (s *onKafka) config() kafka.Config { return kafka.Config{Brokers: s.broker.Brokers()} }

// consume runs a router with the chain over handle, in a group of its own, until stop is called.
func (s *onKafka) consume(t *testing.T, handle message.NoPublishHandlerFunc) (stop func()) {
	t.Helper()
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Config: s.config(), ConsumerGroup: "mailer", NackResendSleep: 10 * time.Millisecond,
	}, watermill.NopLogger{})
	require.NoError(t, err)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	require.NoError(t, err)
	router.AddPlugin(consumer.Plugin(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: s.publisher, Naming: s.naming},
		Retry:      consumer.RetryConfig{MaxRetries: 2, InitialInterval: time.Millisecond},
	}))
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

// journal notes what was handled.
type journal struct {
	mu      sync.Mutex
	entries []string
}

func (j *journal) note(entry string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry)
}

func (j *journal) await(t *testing.T, entry string) {
	t.Helper()
	require.Eventually(t, func() bool { return j.count(entry) > 0 }, patience, 5*time.Millisecond, entry)
}

func (j *journal) count(entry string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, noted := range j.entries {
		if noted == entry {
			n++
		}
	}
	return n
}

func TestOnKafka(t *testing.T) {
	t.Parallel()
	s, seen := newOnKafka(t), &journal{}
	ctx := bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "request-1"})
	publish := func(id, role string) string {
		eventID, err := userCreated.Publish(ctx, s.bus, id, user{Email: id + "@example.com", Role: role})
		require.NoError(t, err)
		return eventID
	}

	publish("ada", "flaky")
	poison := publish("bob", "poison")
	require.NoError(t, s.publisher.Publish(s.topic, message.NewMessage("junk", []byte(`{"metadata":`))))

	stop := s.consume(t, consumer.Handle(userCreated, func(ctx context.Context, event consumer.Event[user]) error {
		seen.note(event.AggregateID + strconv.Itoa(event.Meta.Attempt))
		switch {
		case event.Data.Role == "poison", event.Data.Role == "flaky" && event.Meta.Attempt < 3:
			return errors.New("no such mailbox")
		case event.Data.Role == "slow":
			<-ctx.Done()
			return ctx.Err()
		}
		if inherited := bus.MetadataFrom(ctx); inherited.CorrelationID != "request-1" || inherited.CausationID != event.Metadata.EventID {
			return consumer.Permanent(fmt.Errorf("wrong chain: %+v", inherited))
		}
		return nil
	}))

	seen.await(t, "ada3") // retried until it succeeded
	letters := byUUID(s.broker.WaitRecords(t, s.letters, 2, patience))
	require.Len(t, letters, 2)

	t.Run("poison carries where it came from and why", func(t *testing.T) {
		letter := letters[poison]
		source := find(t, s.broker.Records(t, s.topic), poison)
		require.Equal(t, "bob", string(letter.Key))
		require.Equal(t, source.Value, letter.Value)
		for _, header := range source.Headers {
			value, _ := letter.Header(header.Key)
			require.Equal(t, string(header.Value), value, header.Key)
		}
		for name, want := range map[string]string{
			deadletter.HeaderSource:    deadletter.SourceConsumer,
			deadletter.HeaderReason:    "no such mailbox",
			deadletter.HeaderTopic:     s.topic,
			deadletter.HeaderPartition: strconv.Itoa(int(source.Partition)),
			deadletter.HeaderOffset:    strconv.FormatInt(source.Offset, 10),
			deadletter.HeaderKey:       "bob",
			deadletter.HeaderHandler:   "welcome",
			deadletter.HeaderAttempts:  "3",
			"correlation_id":           "request-1",
			envelopes.HeaderType:       userCreated.EventType(),
		} {
			value, _ := letter.Header(name)
			require.Equal(t, want, value, name)
		}
		for _, name := range []string{deadletter.HeaderFirstFailure, deadletter.HeaderLastFailure} {
			value, _ := letter.Header(name)
			at, err := time.Parse(deadletter.TimeFormat, value)
			require.NoError(t, err, name)
			require.WithinDuration(t, time.Now(), at, time.Minute, name)
		}
	})

	t.Run("bad JSON is set aside at the first attempt", func(t *testing.T) {
		letter := letters["junk"]
		require.Nil(t, letter.Key, "no key stays a null key")
		reason, _ := letter.Header(deadletter.HeaderReason)
		require.Contains(t, reason, "is not JSON")
		attempts, _ := letter.Header(deadletter.HeaderAttempts)
		require.Equal(t, "1", attempts)
	})

	t.Run("a shutdown sets nothing aside, and the message comes again", func(t *testing.T) {
		publish("eve", "slow")
		seen.await(t, "eve1")
		stop()
		s.consume(t, consumer.Handle(userCreated, func(_ context.Context, event consumer.Event[user]) error {
			seen.note("again " + event.AggregateID)
			return nil
		}))
		seen.await(t, "again eve")
		require.Len(t, s.broker.Records(t, s.letters), 2)
		require.Zero(t, seen.count("eve2"), "no retry either")
		require.Zero(t, seen.count("again bob"), "what was set aside does not come again")
	})
}

func TestOnKafkaADeadLetterThatIsRefusedKeepsTheMessage(t *testing.T) {
	t.Parallel()
	s, seen := newOnKafka(t), &journal{}
	if !s.broker.Faulty() {
		t.Skip("a cluster of somebody else's can't be told to deny a topic")
	}
	s.broker.Deny(s.letters)
	id, err := userCreated.Publish(t.Context(), s.bus, "bob", user{})
	require.NoError(t, err)
	s.consume(t, func(*message.Message) error {
		seen.note("run")
		return consumer.Permanent(errors.New("no such mailbox"))
	})
	require.Eventually(t, func() bool { return seen.count("run") > 1 }, patience, 5*time.Millisecond, "it comes back")
	require.Empty(t, s.broker.Records(t, s.letters))
	s.broker.Allow(s.letters)
	find(t, s.broker.WaitRecords(t, s.letters, 1, patience), id)
}

func byUUID(records []bustest.Record) map[string]bustest.Record {
	found := make(map[string]bustest.Record, len(records))
	for _, record := range records {
		uuid, _ := record.Header("_watermill_message_uuid")
		found[uuid] = record
	}
	return found
}

func find(t *testing.T, records []bustest.Record, uuid string) bustest.Record {
	t.Helper()
	record, ok := byUUID(records)[uuid]
	require.True(t, ok, uuid)
	return record
}
