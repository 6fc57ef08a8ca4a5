package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wforwarder "github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// TestPubSub is Watermill's own suite for publishers and subscribers. A table has one reader, so order is
// guaranteed whatever the number of subscribers; there are no consumer groups, since a row is settled
// once; delivery is at least once. TAILRACE_LONG=1 runs it with the suite's full numbers.
func TestPubSub(t *testing.T) { pubSub(t, outbox.MigrateConfig{}, os.Getenv("TAILRACE_LONG") == "") }

// TestPubSubOfPartitions begins behind most of a partition's ids, so that each of the suite's tests goes on in the next.
func TestPubSubOfPartitions(t *testing.T) {
	if os.Getenv("TAILRACE_LONG") == "" {
		t.Skip("TAILRACE_LONG=1 runs it")
	}
	pubSub(t, outbox.MigrateConfig{Partitioned: true, PartitionRows: 1000}, true)
}

func pubSub(t *testing.T, tableKind outbox.MigrateConfig, short bool) {
	t.Helper()
	db, dsn := bustest.Postgres(t)
	tables := &testTables{db: db, kind: tableKind, names: map[string]string{}}
	construct := func(t *testing.T) (message.Publisher, message.Subscriber) {
		t.Helper()
		table := tables.of(t)
		own, err := sql.Open("postgres", dsn)
		require.NoError(t, err)
		own.SetMaxIdleConns(1)
		t.Cleanup(func() { _ = own.Close() })
		// The suite nacks some messages hundreds of times.
		w, err := outbox.NewWriter(outbox.WriterConfig{DB: db, Table: table, MaxRetries: 10_000})
		require.NoError(t, err)
		s, err := outbox.NewSubscriber(outbox.SubscriberConfig{
			DB: own, Table: table, PollInterval: 10 * time.Millisecond, RetryMin: time.Millisecond, RetryMax: 2 * time.Millisecond,
			StandbyPoll: 300 * time.Millisecond, CloseTimeout: time.Second, Lease: 5 * time.Second,
		}, nil)
		require.NoError(t, err)
		return w, s
	}
	tests.TestPubSub(t, tests.Features{GuaranteedOrder: true, Persistent: true, ForceShort: short}, construct, nil)
}

// testTables gives each test of a suite a table, since a table has one reader and the tests run at the
// same time.
type testTables struct {
	db    *sql.DB
	kind  outbox.MigrateConfig
	mu    sync.Mutex
	names map[string]string
}

func (s *testTables) of(t *testing.T) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	// TestPubSub/TestName/id/…
	name := strings.Join(strings.Split(t.Name(), "/")[:3], "/")
	if table, ok := s.names[name]; ok {
		return table
	}
	table := fmt.Sprintf("outbox_%d", len(s.names))
	config := s.kind
	config.Table = table
	_, err := outbox.Migrate(context.Background(), s.db, config)
	require.NoError(t, err)
	if config.Partitioned {
		_, err := s.db.ExecContext(context.Background(), `SELECT setval($1, $2)`, table+"_id_seq", config.PartitionRows-10)
		require.NoError(t, err)
	}
	s.names[name] = table
	return table
}

func TestSubscriberInAPlainRouter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.writer(t).Publish("t", keyed(20, 4)...))
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 5 * time.Second}, watermill.NopLogger{})
	require.NoError(t, err)
	router.AddMiddleware(outbox.NoteFailures)
	failed := false
	router.AddConsumerHandler("h", "t", b.subscriber(t, nil), func(msg *message.Message) error {
		if string(msg.Payload) == "5" && !failed {
			failed = true
			return fmt.Errorf("cannot just now")
		}
		return nil
	})
	done := make(chan error, 1)
	go func() { done <- router.Run(b.ctx) }()
	b.eventually(t, 20, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
	require.NoError(t, router.Close())
	require.NoError(t, <-done)
	require.Equal(t, []string{"retry_count=1 error_message=cannot just now "}, lines(t, b.db, `SELECT retry_count, error_message FROM event_outbox WHERE retry_count > 0`))
}

func TestSubscriberUnderWatermillsForwarder(t *testing.T) {
	onBothTables(t, subscriberUnderWatermillsForwarder)
}

func subscriberUnderWatermillsForwarder(t *testing.T, b bundle) {
	sent := []*message.Message{
		newMessage(`{"n":1}`, delivery.KeyMetadata, "k", "correlation_id", "c"),
		newMessage("\x00\xff binary"),
		newMessage("", delivery.KeyMetadata, ""),
	}
	require.NoError(t, b.writer(t).Write(b.ctx, nil, []string{"a", "b", "a"}, sent))
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload, key, max_retries) VALUES ($1, 'b', 'x', '\xff', 1)`, uuid.NewString())
	out := &topicRecorder{byTopic: map[string][]*message.Message{}}
	f, err := wforwarder.NewForwarder(b.subscriber(t, nil), out, watermill.NopLogger{}, wforwarder.Config{})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- f.Run(b.ctx) }()
	b.eventually(t, 3, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
	b.eventually(t, 1, `SELECT count(*) FROM event_outbox WHERE retry_count = 1 AND error_message LIKE '%not UTF-8%'`)
	require.NoError(t, f.Close())
	require.NoError(t, <-done)
	require.Len(t, out.byTopic["a"], 2)
	require.Len(t, out.byTopic["b"], 1)
	require.True(t, sent[0].Equals(out.byTopic["a"][0]))
	delete(sent[2].Metadata, delivery.KeyMetadata) // an empty key is none
	require.True(t, sent[2].Equals(out.byTopic["a"][1]))
	require.True(t, sent[1].Equals(out.byTopic["b"][0]))
}

type topicRecorder struct {
	mu      sync.Mutex
	byTopic map[string][]*message.Message
}

func (r *topicRecorder) Publish(topic string, msgs ...*message.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byTopic[topic] = append(r.byTopic[topic], msgs...)
	return nil
}

func (r *topicRecorder) Close() error { return nil }
