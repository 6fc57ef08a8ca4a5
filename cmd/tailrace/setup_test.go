package main_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

const (
	patience = 60 * time.Second
	tick     = 5 * time.Millisecond
	topic    = "marty.orders"
)

var binaryDir string

func TestMain(m *testing.M) {
	if dsn := os.Getenv(callerVariable); dsn != "" {
		callAndDie(dsn)
	}
	dir, err := os.MkdirTemp("", "tailrace-cmd-")
	if err != nil {
		panic(err)
	}
	binaryDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// raceFlag is what the race detector is asked for with, while it is at work in the tests.
var raceFlag []string

// binary builds the command once. Under the race detector, it runs under it too.
var binary = sync.OnceValues(func() (string, error) { return build("tailrace", raceFlag...) })

// timedBinary is the command as operators have it, for what has to be quick.
var timedBinary = sync.OnceValues(func() (string, error) {
	if len(raceFlag) == 0 {
		return binary()
	}
	return build("tailrace-timed")
})

func build(name string, flags ...string) (string, error) {
	path := filepath.Join(binaryDir, name)
	output, err := exec.Command("go", slices.Concat([]string{"build", "-o", path}, flags, []string{"."})...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return path, nil
}

// bundle is a migrated database and a broker with one topic.
type bundle struct {
	t      testing.TB
	db     *sql.DB
	dsn    string
	broker *bustest.Broker
	admin  *kadm.Client
}

func setup(t testing.TB) *bundle {
	t.Helper()
	db, dsn := bustest.Postgres(t)
	return setupOn(t, db, dsn, outbox.MigrateConfig{})
}

func setupOn(t testing.TB, db *sql.DB, dsn string, table outbox.MigrateConfig) *bundle {
	t.Helper()
	b := &bundle{t: t, db: db, dsn: dsn, broker: bustest.Kafka(t)}
	_, err := outbox.Migrate(t.Context(), db, table)
	require.NoError(t, err)
	b.broker.CreateTopic(t, topic, 6, nil)
	b.admin = administer(t, b.broker)
	return b
}

// administer returns what asks the broker about its topics.
func administer(t testing.TB, broker *bustest.Broker) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Brokers()...))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// arrived is how many records the topic holds.
func (b *bundle) arrived() int {
	b.t.Helper()
	return recordsIn(b.t, b.admin, topic)
}

func recordsIn(t testing.TB, admin *kadm.Client, topics ...string) (n int) {
	t.Helper()
	offsets, err := admin.ListEndOffsets(t.Context(), topics...)
	require.NoError(t, err)
	offsets.Each(func(o kadm.ListedOffset) { n += int(o.Offset) })
	return n
}

// waitArrived waits until the topic holds n records more than base.
func (b *bundle) waitArrived(n int) {
	b.t.Helper()
	require.Eventuallyf(b.t, func() bool { return b.arrived() >= n }, patience, tick, "fewer than %d records arrived", n)
}

func (b *bundle) count(where string) (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), `SELECT count(*) FROM event_outbox WHERE `+where).Scan(&n))
	return n
}

// pending is how many rows wait to be settled.
func (b *bundle) pending() int {
	b.t.Helper()
	return b.count(`processed_at IS NULL AND retry_count < max_retries`)
}

const settled = `processed_at IS NOT NULL`

func (b *bundle) waitSettledRows(n int) {
	b.t.Helper()
	require.Eventuallyf(b.t, func() bool { return b.count(settled) >= n }, patience, tick, "fewer than %d rows are settled", n)
}

func (b *bundle) waitSettled() {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return b.pending() == 0 }, patience, 10*tick, "rows stay pending")
}

// owner is the process id of the forwarder that owns the outbox, as it says itself; 0 for none.
func (b *bundle) owner() (pid int) {
	b.t.Helper()
	err := b.db.QueryRowContext(b.t.Context(), `SELECT coalesce(split_part(owner, ':', 2)::int, 0) FROM event_outbox_forwarder`).Scan(&pid)
	if err != nil {
		require.ErrorIs(b.t, err, sql.ErrNoRows)
	}
	return pid
}

// long is true when the tests may take minutes.
func long() bool { return os.Getenv("TAILRACE_LONG") == "1" }

// often is how often a test does what it is about: as a rule, or when it may take minutes.
func often(rule, inLong int) int {
	if long() {
		return inLong
	}
	return rule
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
