package forwarder_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

const patience = 60 * time.Second

// testBundle is a database with the outbox table, a broker and a sender.
type testBundle struct {
	t      testing.TB
	db     *sql.DB
	dsn    string
	broker *bustest.Broker
	sender *kafka.Sender
}

func setup(t testing.TB, options ...bustest.KafkaOption) *testBundle {
	t.Helper()
	return setupTable(t, outbox.MigrateConfig{}, options...)
}

func setupTable(t testing.TB, config outbox.MigrateConfig, options ...bustest.KafkaOption) *testBundle {
	t.Helper()
	db, dsn := bustest.Postgres(t)
	b := &testBundle{t: t, db: db, dsn: dsn, broker: bustest.Kafka(t, options...)}
	_, err := outbox.Migrate(t.Context(), db, config)
	require.NoError(t, err)
	b.sender, err = kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: b.broker.Brokers(), RequestTimeout: 2 * time.Second}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.sender.Close()) })
	return b
}

// onBothTables runs a test on a plain outbox and on one of partitions of 1,000 ids.
func onBothTables(t *testing.T, test func(t *testing.T, b *testBundle)) {
	t.Helper()
	t.Parallel()
	for kind, set := range map[string]func(*testing.T) *testBundle{
		"plain":       func(t *testing.T) *testBundle { return setup(t) },
		"partitioned": partitioned,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, set(t))
		})
	}
}

// onBothTablesIfLong runs it on a plain outbox only, unless there is time for more.
func onBothTablesIfLong(t *testing.T, test func(t *testing.T, b *testBundle)) {
	t.Helper()
	if os.Getenv("TAILRACE_LONG") != "" {
		onBothTables(t, test)
		return
	}
	t.Parallel()
	test(t, setup(t))
}

// jump has the sequence go on behind an id, and makes the partitions that this may need.
func (b *testBundle) jump(to int) {
	b.t.Helper()
	b.exec(`SELECT setval('event_outbox_id_seq', $1)`, to)
	_, err := outbox.Migrate(b.t.Context(), b.db, outbox.MigrateConfig{})
	require.NoError(b.t, err)
}

// roomFor makes the partitions of a new outbox that so many events need before a forwarder gets to it.
func (b *testBundle) roomFor(events int) {
	b.t.Helper()
	if len(b.partitions()) == 0 {
		return
	}
	for id := outbox.MinPartitionRows; id < events; id += outbox.PartitionsAhead * outbox.MinPartitionRows {
		b.jump(id)
	}
	b.exec(`SELECT setval('event_outbox_id_seq', 1, false)`)
}

// forwarder returns one that is tuned for tests: quick to retry, logging through the test.
func (b *testBundle) forwarder(change func(*forwarder.Config)) *forwarder.Forwarder {
	b.t.Helper()
	config := forwarder.Config{
		DB: b.db, Sender: b.sender, DeadLetterTopic: "dead", RetryMin: 50 * time.Millisecond,
		Lease: 3 * time.Second, SweepInterval: 500 * time.Millisecond,
		Registerer: prometheus.NewRegistry(),
		Logger:     slog.New(slog.NewTextHandler(testLog{b.t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	if change != nil {
		change(&config)
	}
	f, err := forwarder.New(config)
	require.NoError(b.t, err)
	return f
}

// run runs a forwarder until the returned function stops it, or the test ends, and requires a clean stop.
func (b *testBundle) run(f interface {
	Run(ctx context.Context) error
},
) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			assert.NoError(b.t, err) //nolint:testifylint // FailNow within a OnceFunc is a panic.
		case <-time.After(patience):
			b.t.Error("the forwarder did not stop")
		}
	})
	b.t.Cleanup(stop)
	return stop
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// insert writes rows 0…n-1 of a topic with plain SQL and the guide's columns, over the given number of
// keys (0: without key), each payload its number within the key.
func (b *testBundle) insert(topic string, n, keys int) {
	b.t.Helper()
	b.insertFrom(topic, 0, n, keys)
}

func (b *testBundle) insertFrom(topic string, from, n, keys int) {
	b.t.Helper()
	_, err := b.db.ExecContext(b.t.Context(), `INSERT INTO event_outbox (event_id, topic, payload, key)
		SELECT $1 || '-' || i, $1, convert_to(CASE WHEN $4 > 0 THEN (i / greatest($4, 1))::text ELSE i::text END, 'UTF8'),
			CASE WHEN $4 > 0 THEN convert_to('k' || (i % $4), 'UTF8') END
		FROM generate_series($2::int, $2::int + $3::int - 1) i ORDER BY i`, topic, from, n, keys)
	require.NoError(b.t, err)
}

// tally is every event counted.
type tally struct{ records, distinct, duplicated, reordered int }

func (c tally) String() string {
	return fmt.Sprintf("%d records, %d events, %d duplicates, %d out of order within a key", c.records, c.distinct, c.duplicated, c.reordered)
}

// count reads the order of first deliveries within each key from the payloads' numbers.
func count(t testing.TB, records []bustest.Record) tally {
	t.Helper()
	var c tally
	seen := map[string]bool{}
	next := map[string]int{}
	for _, r := range records {
		c.records++
		id, ok := r.Header("_watermill_message_uuid")
		require.True(t, ok, "every record carries its event id")
		if seen[id] {
			c.duplicated++
			continue
		}
		seen[id] = true
		c.distinct++
		if r.Key == nil {
			continue
		}
		number, err := strconv.Atoi(string(r.Value))
		require.NoError(t, err)
		if number != next[string(r.Key)] {
			c.reordered++
		}
		next[string(r.Key)] = number + 1
	}
	return c
}

// pending returns how many rows are pending.
func (b *testBundle) pending() (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), `SELECT count(*) FROM event_outbox WHERE processed_at IS NULL AND retry_count < max_retries`).Scan(&n))
	return n
}

func (b *testBundle) exec(query string, args ...any) {
	b.t.Helper()
	_, err := b.db.ExecContext(b.t.Context(), query, args...)
	require.NoError(b.t, err)
}
