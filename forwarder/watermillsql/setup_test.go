package watermillsql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	wforwarder "github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
	"github.com/tailrace-go/tailrace/internal/pgtable"
)

func TestMain(m *testing.M) { bustest.Main(m) }

const (
	patience = 60 * time.Second
	tick     = 5 * time.Millisecond
	// outbox is the topic of the forwarder, orders that of the messages.
	outbox   = "events_to_forward"
	orders   = "orders"
	keyField = "order_id"
)

func long() bool { return os.Getenv("TAILRACE_LONG") == "1" }

// bundle is a database, a broker, and what Watermill's parts have in common.
type bundle struct {
	t      testing.TB
	db     *sql.DB
	dsn    string
	broker *bustest.Broker
	sender *kafka.Sender

	topic, group string
	schema       wsql.DefaultPostgreSQLSchema
	offsets      wsql.DefaultPostgreSQLOffsetsAdapter
	next         map[string]int
	mu           sync.Mutex
}

func setup(t testing.TB, change ...func(*bundle)) *bundle {
	t.Helper()
	db, dsn := bustest.Postgres(t)
	b := &bundle{t: t, db: db, dsn: dsn, broker: bustest.Kafka(t), topic: outbox, next: map[string]int{}}
	for _, c := range change {
		c(b)
	}
	var err error
	b.sender, err = kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: b.broker.Brokers(), RequestTimeout: 2 * time.Second}, Partitioner: kafka.FNV1a})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.sender.Close()) })
	require.NoError(t, b.initialize())
	return b
}

// forwarder returns ours, tuned for tests.
func (b *bundle) forwarder(change ...func(*watermillsql.Config)) *watermillsql.Forwarder {
	b.t.Helper()
	config := watermillsql.Config{
		DB: b.db, Topic: b.topic, ConsumerGroup: b.group, Schema: b.schema, Offsets: b.offsets, Sender: b.sender,
		KeyMetadata: keyField, DeadLetterTopic: "dead", Lease: 3 * time.Second, RetryMin: 50 * time.Millisecond,
		StandbyPoll: 50 * time.Millisecond, Registerer: prometheus.NewRegistry(),
		Logger: slog.New(slog.NewTextHandler(testLog{b.t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	for _, c := range change {
		c(&config)
	}
	f, err := watermillsql.New(config)
	require.NoError(b.t, err)
	return f
}

// run runs a forwarder until the returned function stops it, or the test ends, and requires a clean stop.
func (b *bundle) run(f *watermillsql.Forwarder) (stop func()) {
	cancel, wait := b.start(f)
	return func() { cancel(); wait() }
}

// start is run, with the two halves of stopping apart.
func (b *bundle) start(f *watermillsql.Forwarder) (cancel, wait func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	wait = sync.OnceFunc(func() {
		select {
		case err := <-done:
			assert.NoError(b.t, err) //nolint:testifylint // A cleanup must not leave the others undone.
		case <-time.After(patience):
			b.t.Error("the forwarder did not stop")
		}
	})
	b.t.Cleanup(func() { cancel(); wait() })
	return cancel, wait
}

type testLog struct{ t testing.TB }

// logger writes to the log and to the test's.
func (l *recordedLog) logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(io.MultiWriter(l, testLog{t}), nil))
}

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// message returns a key's next message: its payload is its number, its UUID the key and the number.
func (b *bundle) message(key string) *message.Message {
	b.mu.Lock()
	number := b.next[key]
	b.next[key]++
	b.mu.Unlock()
	msg := message.NewMessage(fmt.Sprintf("%s-%d", key, number), fmt.Appendf(nil, "%d", number))
	msg.Metadata.Set(keyField, key)
	msg.Metadata.Set("trace", "t"+key)
	return msg
}

// publish writes n messages over that many keys, from as many writers at once, each with keys of its own,
// in transactions of a few messages.
func (b *bundle) publish(n, keys, writers int) {
	b.t.Helper()
	var writing sync.WaitGroup
	var failed atomic.Value
	for w := range writers {
		writing.Go(func() {
			for i := w; i < n; {
				var messages []*message.Message
				for ; i < n && len(messages) < 5; i += writers {
					messages = append(messages, b.message(fmt.Sprintf("k%d", w+i/writers%(keys/writers)*writers)))
				}
				if err := b.inTx(orders, messages...); err != nil {
					failed.Store(err)
					return
				}
			}
		})
	}
	writing.Wait()
	require.Nil(b.t, failed.Load())
}

// inTx publishes as an application does: in a transaction.
func (b *bundle) inTx(topic string, messages ...*message.Message) error {
	tx, err := b.db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := b.publishIn(tx, topic, messages...); err != nil {
		return err
	}
	return tx.Commit()
}

func (b *bundle) publishIn(tx *sql.Tx, topic string, messages ...*message.Message) error {
	inner, err := wsql.NewPublisher(tx, wsql.PublisherConfig{SchemaAdapter: b.schema}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	return wforwarder.NewPublisher(inner, wforwarder.PublisherConfig{ForwarderTopic: b.topic}).Publish(topic, messages...)
}

// initialize makes the table of messages, as the application's start does.
func (b *bundle) initialize() error {
	for _, q := range b.schema.SchemaInitializingQueries(b.topic) {
		if _, err := b.db.Exec(q.Query); err != nil {
			return err
		}
	}
	return nil
}

// watermillForwarder is Watermill's own, which may publish so many messages and then refuses each.
type watermillForwarder struct {
	message.Publisher
	b         *bundle
	quota     atomic.Int64
	begun     atomic.Int64
	published atomic.Int64
	inner     *wforwarder.Forwarder
	done      chan error
}

var errQuota = errors.New("no more for now")

func (w *watermillForwarder) Publish(topic string, messages ...*message.Message) error {
	w.begun.Add(1)
	for _, msg := range messages {
		if w.quota.Add(-1) < 0 {
			w.quota.Add(1)
			return errQuota
		}
		if err := w.Publisher.Publish(topic, msg); err != nil {
			return err
		}
		w.published.Add(1)
	}
	return nil
}

// watermill starts Watermill's forwarder as its documentation does, but that it polls quickly.
func (b *bundle) watermill(quota int) *watermillForwarder {
	b.t.Helper()
	logger := watermill.NopLogger{}
	subscriber, err := wsql.NewSubscriber(b.db, wsql.SubscriberConfig{
		ConsumerGroup: b.group, SchemaAdapter: b.schema, OffsetsAdapter: b.offsets, InitializeSchema: true,
		PollInterval: 10 * time.Millisecond, ResendInterval: 10 * time.Millisecond, RetryInterval: 10 * time.Millisecond,
	}, logger)
	require.NoError(b.t, err)
	config := wkafka.DefaultSaramaSyncPublisherConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	out, err := wkafka.NewPublisher(wkafka.PublisherConfig{
		Brokers: b.broker.Brokers(), OverwriteSaramaConfig: config,
		Marshaler: wkafka.NewWithPartitioningMarshaler(func(_ string, msg *message.Message) (string, error) { return msg.Metadata.Get(keyField), nil }),
	}, logger)
	require.NoError(b.t, err)
	w := &watermillForwarder{Publisher: out, b: b, done: make(chan error, 1)}
	w.quota.Store(int64(quota))
	w.inner, err = wforwarder.NewForwarder(subscriber, w, logger, wforwarder.Config{ForwarderTopic: b.topic, CloseTimeout: patience})
	require.NoError(b.t, err)
	go func() { w.done <- w.inner.Run(context.Background()) }()
	<-w.inner.Running()
	return w
}

func (w *watermillForwarder) waitPublished(n int) {
	w.b.t.Helper()
	require.Eventuallyf(w.b.t, func() bool { return w.published.Load() >= int64(n) }, patience, tick, "Watermill's forwarder published fewer than %d", n)
}

func (w *watermillForwarder) stop() {
	w.b.t.Helper()
	require.NoError(w.b.t, w.inner.Close())
	require.NoError(w.b.t, <-w.done)
	require.NoError(w.b.t, w.Close())
}

// position is the offsets row, zero for none.
func (b *bundle) position() (transaction, offset int64) {
	b.t.Helper()
	err := b.db.QueryRow(`SELECT last_processed_transaction_id, offset_acked FROM `+b.offsets.MessagesOffsetsTable(b.topic)+` WHERE consumer_group = $1`, b.group).Scan(&transaction, &offset)
	if !errors.Is(err, sql.ErrNoRows) && pgtable.SQLState(err) != pgtable.UndefinedTable {
		require.NoError(b.t, err)
	}
	return transaction, offset
}

// behind is how many rows the position has not passed.
func (b *bundle) behind() (n int) {
	b.t.Helper()
	transaction, offset := b.position()
	require.NoError(b.t, b.db.QueryRow(`SELECT count(*) FROM `+b.schema.MessagesTable(b.topic)+` WHERE (transaction_id, "offset") > ($1::text::xid8, $2)`, transaction, offset).Scan(&n))
	return n
}

// rows is how many messages there are.
func (b *bundle) rows() (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRow(`SELECT count(*) FROM `+b.schema.MessagesTable(b.topic)).Scan(&n))
	return n
}

// open opens the database otherwise.
func (b *bundle) open(change func(*pq.Config)) *sql.DB {
	b.t.Helper()
	config, err := pq.NewConfig(b.dsn)
	require.NoError(b.t, err)
	change(&config)
	connector, err := pq.NewConnectorConfig(config)
	require.NoError(b.t, err)
	db := sql.OpenDB(connector)
	b.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (b *bundle) waitPassed() {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return b.behind() == 0 }, patience, tick, "rows stay behind the position")
}

// tally is every message counted.
type tally struct{ sent, delivered, twice, lost, reordered int }

func (c tally) String() string {
	return fmt.Sprintf("%d sent, %d delivered, %d twice, %d lost, %d not in Watermill's order within a key", c.sent, c.delivered, c.twice, c.lost, c.reordered)
}

// count compares the rows of the table, in Watermill's order, with the records of a topic.
func (b *bundle) count(topic string) tally {
	b.t.Helper()
	rows, err := b.db.Query(`SELECT payload->>'uuid', payload->'metadata'->>'` + keyField + `' FROM (SELECT convert_from(payload::text::bytea, 'UTF8')::json AS payload, transaction_id, "offset" FROM ` +
		b.schema.MessagesTable(b.topic) + `) m WHERE payload->>'destination_topic' = '` + topic + `' ORDER BY transaction_id, "offset"`)
	require.NoError(b.t, err)
	defer func() { _ = rows.Close() }()
	var c tally
	place := map[string]int{}
	for rows.Next() {
		var uuid, key string
		require.NoError(b.t, rows.Scan(&uuid, &key))
		c.sent++
		place[uuid] = c.sent
	}
	require.NoError(b.t, rows.Err())
	seen, last := map[string]bool{}, map[string]int{}
	for _, record := range b.broker.Records(b.t, topic) {
		uuid, ok := record.Header(wkafka.UUIDHeaderKey)
		require.True(b.t, ok)
		at, sent := place[uuid]
		require.True(b.t, sent, "%s was never sent", uuid)
		if seen[uuid] {
			c.twice++
			continue
		}
		seen[uuid] = true
		c.delivered++
		key, number, _ := strings.Cut(uuid, "-")
		require.Equal(b.t, key, string(record.Key))
		require.Equal(b.t, number, string(record.Value))
		if at < last[key] {
			c.reordered++
		}
		last[key] = max(last[key], at)
	}
	c.lost = c.sent - c.delivered
	return c
}

func deliveryHeader(h bustest.RecordHeader) delivery.Header {
	return delivery.Header{Key: h.Key, Value: h.Value}
}
