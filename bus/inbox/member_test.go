package inbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/envelopes"
)

const (
	topic = "users"
	// childMember asks TestMain's child to consume; it holds a member as JSON.
	childMember = "INBOX_TEST_MEMBER"
	// inside is what a child says once it has written in the transaction that Freeze holds open.
	inside = "inside the transaction"
)

// member is one of a consumer group, in this process or in a child.
type member struct {
	DSN     string
	Brokers []string
	Group   string
	// Instance makes the member a static one (KIP-345), whose place a successor takes at once.
	Instance string
	// DieAfter is after how many messages the process is killed: handled and committed, but not acked.
	DieAfter int64
	// Freeze holds the first transaction open until standard input ends.
	Freeze bool
	// FailAcks nacks each message once after it was handled and committed.
	FailAcks bool

	registry *prometheus.Registry
	letters  message.Publisher
}

// run consumes until ctx ends.
func (m member) run(ctx context.Context) error {
	db, err := sql.Open("postgres", m.DSN)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	events, err := bus.New(bus.Config{Service: "mailer", DB: db})
	if err != nil {
		return err
	}
	box, err := inbox.New(inbox.Config{Bus: events, Metrics: m.registry})
	if err != nil {
		return err
	}
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Config: kafka.Config{Brokers: m.Brokers}, ConsumerGroup: m.Group, NackResendSleep: time.Millisecond, ReconnectRetrySleep: 10 * time.Millisecond,
		Sarama: func(settings *sarama.Config) {
			settings.Consumer.Group.InstanceId = m.Instance
			settings.Consumer.Group.Session.Timeout = 6 * time.Second // the least that a broker takes
			settings.Consumer.Group.Heartbeat.Interval = 50 * time.Millisecond
			settings.Consumer.MaxWaitTime = 50 * time.Millisecond
		},
	}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	router.AddMiddleware(m.accident()) // outside the chain: between the commit and the ack
	router.AddPlugin(consumer.Plugin(consumer.Config{
		NoTracing: true, DeadLetter: consumer.DeadLetterConfig{Publisher: m.letters},
		Retry: consumer.RetryConfig{InitialInterval: time.Millisecond},
	}))
	service := bundle{db: db, bus: events}
	box.Add(router, "mailer", subscriber, topic, func(msg *message.Message) error {
		if err := service.welcome(msg); err != nil {
			return err
		}
		if m.Freeze {
			fmt.Println(inside)
			_, _ = os.Stdin.Read(make([]byte, 1))
		}
		return nil
	})
	return router.Run(ctx)
}

// accident is what happens to messages between the commit and the ack.
func (m member) accident() message.HandlerMiddleware {
	var handled atomic.Int64
	var failed sync.Map
	return func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			produced, err := next(msg)
			if err != nil {
				return produced, err
			}
			if handled.Add(1) == m.DieAfter {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			if _, again := failed.LoadOrStore(msg.UUID, true); m.FailAcks && !again {
				return nil, errors.New("the ack is lost")
			}
			return produced, nil
		}
	}
}

// runChild is a member in a process of its own.
func runChild(config string) int {
	m := member{registry: prometheus.NewRegistry(), letters: nothing{}}
	err := json.Unmarshal([]byte(config), &m)
	if err == nil {
		err = m.run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// fleet is a database and a topic with its consumers.
type fleet struct {
	bundle

	broker    *bustest.Broker
	publisher *kafka.Publisher
	letters   *bustest.Recorder
}

func newFleet(t *testing.T, partitions int32) *fleet {
	t.Helper()
	f := &fleet{bundle: setup(t), broker: bustest.Kafka(t), letters: bustest.NewRecorder()}
	f.broker.CreateTopic(t, topic, partitions, nil)
	var err error
	f.publisher, err = kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: kafka.Config{Brokers: f.broker.Brokers()}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.publisher.Close()) })
	return f
}

// publish sends n events of as many keys and returns their messages.
func (f *fleet) publish(t *testing.T, n int) []*message.Message {
	t.Helper()
	sent := make([]*message.Message, n)
	for i := range sent {
		sent[i] = newMessage()
		sent[i].Metadata.Set("record_key", sent[i].UUID)
		var err error
		sent[i].Payload, err = envelopes.Encode(envelopes.Custom{
			Metadata: envelopes.Metadata{EventID: sent[i].UUID, Timestamp: time.Now(), ServiceName: "users"}, EventType: "user_created", Topic: topic,
		})
		require.NoError(t, err)
	}
	require.NoError(t, f.publisher.Publish(topic, sent...))
	return sent
}

// start runs a member of the group in this process until stop is called.
func (f *fleet) start(t *testing.T, m member) (registry *prometheus.Registry, stop func()) {
	t.Helper()
	m.DSN, m.Brokers, m.registry, m.letters = f.dsn, f.broker.Brokers(), prometheus.NewRegistry(), f.letters
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, await(t, ended))
	})
	t.Cleanup(stop)
	return m.registry, stop
}

func duplicates(t testing.TB, registry *prometheus.Registry) (n int) {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "tailrace_inbox_duplicates_total" {
			n += int(family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return n
}

func (f *fleet) waitHandled(t *testing.T, n int) {
	t.Helper()
	require.Eventuallyf(t, func() bool { return f.count(t, `SELECT count(DISTINCT event_id) FROM welcomed`) >= n }, 2*patience, 2*tick, "not all of %d events were handled", n)
}

// account replays the whole topic for the same consumer, and then counts everything.
func (f *fleet) account(t *testing.T, sent, records int) {
	t.Helper()
	f.waitHandled(t, sent)
	registry, stop := f.start(t, member{Group: "replay"})
	require.Eventually(t, func() bool { return duplicates(t, registry) >= records }, 2*patience, tick)
	stop()
	handled := f.count(t, `SELECT count(DISTINCT event_id) FROM welcomed`)
	duplicated := f.count(t, `SELECT count(*) - count(DISTINCT event_id) FROM welcomed`)
	published := f.count(t, `SELECT count(*) FROM event_outbox`)
	marks := f.count(t, `SELECT count(*) FROM event_inbox`)
	t.Logf("sent %d, handled %d, duplicated %d, lost %d; events in the outbox %d, marks %d", sent, handled, duplicated, sent-handled, published, marks)
	require.Equal(t, sent, handled, "handled")
	require.Zero(t, duplicated, "duplicated")
	require.Equal(t, sent, published, "events in the outbox")
	require.Equal(t, sent, f.count(t, `SELECT count(DISTINCT convert_from(payload, 'UTF8')::json->>'payload') FROM event_outbox`), "one for each event")
	require.Equal(t, sent, marks, "marks")
	bustest.RequireNothing(t, f.letters)
}
