package forwarder_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

func (b *testBundle) raise(shards int) {
	b.t.Helper()
	_, err := outbox.Migrate(b.t.Context(), b.db, outbox.MigrateConfig{Shards: shards})
	require.NoError(b.t, err)
}

func (b *testBundle) shards() []outbox.Shard {
	b.t.Helper()
	shards, err := outbox.Shards(b.t.Context(), b.db, "")
	require.NoError(b.t, err)
	return shards
}

// pendingIn counts the pending rows of all shards.
func (b *testBundle) pendingIn(shards []outbox.Shard) (pending int) {
	b.t.Helper()
	for _, shard := range shards {
		var n int
		require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), `SELECT count(*) FROM `+shard.Table+` WHERE processed_at IS NULL AND retry_count < max_retries`).Scan(&n))
		pending += n
	}
	return pending
}

func (b *testBundle) sharded() *outbox.Writer {
	b.t.Helper()
	w, err := outbox.NewWriter(outbox.WriterConfig{DB: b.db, Shards: 1})
	require.NoError(b.t, err)
	return w
}

func numbered(key string, number int) *message.Message {
	msg := message.NewMessage(uuid.NewString(), []byte(strconv.Itoa(number)))
	msg.Metadata.Set(delivery.KeyMetadata, key)
	return msg
}

func publish(t testing.TB, w *outbox.Writer, tx outbox.Tx, msgs ...*message.Message) {
	t.Helper()
	require.NoError(t, w.Write(t.Context(), tx, slices.Repeat([]string{"users"}, len(msgs)), msgs))
}

// keyOfTwo returns a key that is in one of two shards.
func keyOfTwo(t testing.TB, shard int) string {
	t.Helper()
	for i := range 100 {
		if key := "k" + strconv.Itoa(i); outbox.ShardOf([]byte(key), 2) == shard {
			return key
		}
	}
	t.Fatal("no such key")
	return ""
}

// TestANewShardWaitsForWhatItsKeysHaveElsewhere: a key's first event is in a transaction that is open for long,
// its second is in the new shard, and could be sent at once.
func TestANewShardWaitsForWhatItsKeysHaveElsewhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 3, nil)
	b.raise(1)
	w, key := b.sharded(), keyOfTwo(t, 1)
	old, err := b.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = old.Rollback() }()
	publish(t, w, old, numbered(key, 0))
	b.raise(2)
	first := b.forwarder(nil)
	second := b.forwarder(func(c *forwarder.Config) { c.Table = "event_outbox_shard_1" })
	b.run(first)
	b.run(second)
	publish(t, w, nil, numbered(key, 1))
	eventually(t, "the new shard waits", func() bool { return second.Status().Opening != "" })
	status := second.Status()
	require.Equal(t, forwarder.Owner, status.State)
	require.NoError(t, status.Ready())
	require.Contains(t, status.String(), "transactions that wrote to the older shards")
	publish(t, w, nil, numbered(keyOfTwo(t, 0), 0)) // stays in the old shard, and is not held up
	b.broker.WaitRecords(t, "users", 1, patience)
	require.NoError(t, old.Commit())
	require.Equal(t, tally{records: 3, distinct: 3}, count(t, b.broker.WaitRecords(t, "users", 3, patience)))
	eventually(t, "it is open", func() bool { return second.Status().Opening == "" })
	eventually(t, "all is settled", func() bool { return b.pendingIn(b.shards()) == 0 })
}

// TestAShardWithoutAForwarderHoldsUpItsKeys and no others, until somebody forwards it.
func TestAShardWithoutAForwarderHoldsUpItsKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 3, nil)
	b.raise(1)
	w, key := b.sharded(), keyOfTwo(t, 1)
	publish(t, w, nil, numbered(key, 0))
	b.raise(2)
	publish(t, w, nil, numbered(key, 1))
	second := b.forwarder(func(c *forwarder.Config) { c.Table = "event_outbox_shard_1" })
	stop := b.run(second)
	eventually(t, "it waits", func() bool { return second.Status().Opening != "" })
	stop() // which an owner that waits does cleanly
	require.Empty(t, b.broker.Records(t, "users"))
	b.run(b.forwarder(func(c *forwarder.Config) { c.Table = "event_outbox_shard_1" }))
	b.run(b.forwarder(nil))
	require.Equal(t, tally{records: 2, distinct: 2}, count(t, b.broker.WaitRecords(t, "users", 2, patience)))
}

// TestAGroupServesTheShardsOfItsOutboxes, those too that are added while it runs.
func TestAGroupServesTheShardsOfItsOutboxes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 6, nil)
	group, err := forwarder.NewGroup(forwarder.GroupConfig{
		Outboxes: []forwarder.Outbox{{DB: b.db}},
		Forwarder: forwarder.Config{
			Sender: b.sender, DeadLetterTopic: "dead", Lease: 3 * time.Second, StandbyPoll: 50 * time.Millisecond,
			Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(testLog{t}, nil)),
		},
	})
	require.NoError(t, err)
	b.run(group)
	eventually(t, "it owns the outbox", func() bool { return group.Status().Owned() == 1 })
	number := 0
	for _, shards := range []int{1, 2, 4} {
		b.raise(shards)
		w := b.sharded()
		for range 20 {
			var msgs []*message.Message
			for key := range 30 {
				msgs = append(msgs, numbered(strconv.Itoa(key), number))
			}
			publish(t, w, nil, msgs...)
			number++
		}
	}
	require.Equal(t, tally{records: 1800, distinct: 1800}, count(t, b.broker.WaitRecords(t, "users", 1800, patience)))
	status := group.Status()
	require.Equal(t, 4, status.Owned())
	require.Equal(t, "event_outbox_shard_3", status.Outboxes[3].Name)
}

// TestStraysAreCounted: who writes to the table itself is delivered, and told of.
func TestStraysAreCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 3, nil)
	b.raise(1)
	w, moves, stays := b.sharded(), keyOfTwo(t, 1), keyOfTwo(t, 0)
	publish(t, w, nil, numbered(moves, 0), numbered(stays, 0))
	first := b.forwarder(nil)
	require.NoError(t, first.Drain(t.Context()))
	b.raise(2)
	require.NoError(t, b.forwarder(func(c *forwarder.Config) { c.Table = "event_outbox_shard_1" }).Drain(t.Context()))

	registry, log := prometheus.NewRegistry(), &lockedBuffer{}
	b.run(b.forwarder(func(c *forwarder.Config) {
		c.Registerer, c.Logger = registry, slog.New(slog.NewTextHandler(log, nil))
	}))
	plain, err := outbox.NewWriter(outbox.WriterConfig{DB: b.db})
	require.NoError(t, err)
	strays := func() float64 { return value(t, registry, "tailrace_forwarder_stray_rows_total") }
	number := 1
	eventually(t, "a stray is noticed", func() bool {
		publish(t, plain, nil, numbered(moves, number), numbered(stays, number))
		number++
		return strays() > 0
	})
	noticed := strays()
	publish(t, w, nil, numbered(moves, number), numbered(stays, number)) // the former is in the new shard
	publish(t, plain, nil, numbered(moves, number), numbered(moves, number+1), numbered(stays, number+1))
	b.broker.WaitRecords(t, "users", 2*number+4, patience)
	require.GreaterOrEqual(t, strays(), noticed+2)
	require.LessOrEqual(t, strays(), float64(number+1), "no other is counted")
	require.Equal(t, 1, strings.Count(log.String(), "shard that its key has left"))
}

// shardFleet forwards whatever shards there are, and starts those again that a test ends.
type shardFleet struct {
	*testBundle

	// db's connections are known by their application's name.
	db *sql.DB

	mu    sync.Mutex
	stops []func()
	all   sync.WaitGroup
}

func newShardFleet(b *testBundle) *shardFleet {
	db, err := sql.Open("postgres", b.dsn+"&application_name=fleet")
	require.NoError(b.t, err)
	f := &shardFleet{testBundle: b, db: db}
	b.t.Cleanup(func() { require.NoError(b.t, db.Close()) })
	return f
}

// follow starts two forwarders for each shard as it comes, until ctx ends.
func (f *shardFleet) follow(ctx context.Context) {
	known := 0
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		shards, err := outbox.Shards(ctx, f.db, "")
		if err == nil {
			for _, shard := range shards[min(known, len(shards)):] {
				for range 2 {
					f.all.Go(func() { f.forward(ctx, shard.Table) })
				}
			}
			known = len(shards)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// forward runs one forwarder of a table after the other.
func (f *shardFleet) forward(ctx context.Context, table string) {
	for ctx.Err() == nil {
		running, stop := context.WithCancel(ctx)
		f.mu.Lock()
		f.stops = append(f.stops, stop)
		f.mu.Unlock()
		err := f.forwarder(func(c *forwarder.Config) {
			c.DB, c.Table, c.StandbyPoll, c.PollMax = f.db, table, 50*time.Millisecond, 10*time.Millisecond
		}).Run(running)
		if err != nil && running.Err() == nil { // One that was stopped may have lost its connection just then.
			f.t.Errorf("%s: %v", table, err)
			return
		}
	}
}

// harm stops a forwarder cleanly, or takes an owner's connection away.
func (f *shardFleet) harm(ctx context.Context) (killed bool) {
	if rand.IntN(2) == 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
		if n := len(f.stops); n > 0 {
			f.stops[rand.IntN(n)]()
		}
		return false
	}
	result, err := f.testBundle.db.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM (SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory'
		WHERE a.application_name = 'fleet' AND a.datname = current_database() ORDER BY random() LIMIT 1) one`)
	if err != nil {
		return false
	}
	n, err := result.RowsAffected()
	return err == nil && n > 0
}

// TestShardsAreAddedLive lets eight writers publish the next versions of their aggregates while the number of
// shards is raised and forwarders end and are killed, and counts every event.
func TestShardsAreAddedLive(t *testing.T) {
	t.Parallel()
	events, aggregates := 3000, 40
	if os.Getenv("TAILRACE_LONG") != "" {
		events = 20_000
	}
	b := setup(t)
	b.broker.CreateTopic(t, "users", 6, nil)
	b.raise(1)
	b.exec(`CREATE TABLE aggregate (id int PRIMARY KEY, version int NOT NULL DEFAULT 0)`)
	b.exec(`INSERT INTO aggregate SELECT generate_series(0, $1 - 1)`, aggregates)
	fleet := newShardFleet(b)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var leading sync.WaitGroup
	leading.Go(func() { fleet.follow(ctx) })

	w, written, rolledBack, kills := b.sharded(), atomic.Int64{}, atomic.Int64{}, 0
	raises := []struct{ at, to int }{{events / 4, 2}, {events / 2, 3}, {events / 2, 5}}
	done := make(chan struct{})
	var writers, trouble sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for written.Load() < int64(events) && !t.Failed() {
				b.writeVersions(w, aggregates, &written, &rolledBack)
			}
		})
	}
	trouble.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if fleet.harm(ctx) {
					kills++
				}
			}
		}
	})
	for _, raise := range raises {
		eventually(t, "some are written", func() bool { return written.Load() >= int64(raise.at) })
		// A key's event is in a transaction of before, which ends after.
		held, err := b.db.BeginTx(ctx, nil)
		require.NoError(t, err)
		from := rand.IntN(aggregates)
		n := nextVersions(t, held, w, from, min(aggregates, from+10))
		b.raise(raise.to)
		require.NoError(t, held.Commit())
		written.Add(int64(n))
	}
	writers.Wait()
	close(done)
	trouble.Wait()
	var shards []outbox.Shard
	eventually(t, "all is settled", func() bool { shards = b.shards(); return b.pendingIn(shards) == 0 })
	end()
	leading.Wait()
	fleet.all.Wait()

	require.Len(t, shards, 5)
	for _, shard := range shards {
		require.True(t, shard.Open())
		var n int
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM `+shard.Table).Scan(&n))
		require.Positive(t, n, shard.Table)
	}
	got := count(t, b.broker.Records(t, "users"))
	t.Logf("%d written, %d transactions rolled back, %d connections killed: %v", written.Load(), rolledBack.Load(), kills, got)
	require.Equal(t, int(written.Load()), got.distinct, "none lost")
	require.Zero(t, got.reordered)
	require.Positive(t, rolledBack.Load())
	if kills == 0 {
		require.Zero(t, got.duplicated)
	}
}

// writeVersions publishes the next versions of one aggregate, or of several, in a transaction that may be rolled
// back or be slow.
func (b *testBundle) writeVersions(w *outbox.Writer, aggregates int, written, rolledBack *atomic.Int64) {
	tx, err := b.db.BeginTx(b.t.Context(), nil)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer func() { _ = tx.Rollback() }()
	from := rand.IntN(aggregates)
	to := from + 1
	if rand.IntN(4) == 0 {
		to = min(aggregates, from+1+rand.IntN(6))
	}
	n := nextVersions(b.t, tx, w, from, to)
	switch rand.IntN(20) {
	case 0:
		rolledBack.Add(1)
		return
	case 1:
		_, _ = tx.Exec(`SELECT pg_sleep($1)`, rand.Float64()*0.03)
	}
	if err := tx.Commit(); err != nil {
		b.t.Error(err)
		return
	}
	written.Add(int64(n))
}

// nextVersions locks the aggregates from one to before another, and publishes the next version of each.
func nextVersions(t testing.TB, tx *sql.Tx, w *outbox.Writer, from, to int) (n int) {
	rows, err := tx.QueryContext(t.Context(), `SELECT id, version FROM aggregate WHERE id >= $1 AND id < $2 ORDER BY id FOR UPDATE`, from, to)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer func() { _ = rows.Close() }()
	var msgs []*message.Message
	for rows.Next() {
		var id, version int
		if err := rows.Scan(&id, &version); err != nil {
			t.Error(err)
		}
		msgs = append(msgs, numbered(fmt.Sprintf("aggregate-%d", id), version))
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
		return 0
	}
	if _, err := tx.ExecContext(t.Context(), `UPDATE aggregate SET version = version + 1 WHERE id >= $1 AND id < $2`, from, to); err != nil {
		t.Error(err)
	}
	if err := w.Write(t.Context(), tx, slices.Repeat([]string{"users"}, len(msgs)), msgs); err != nil {
		t.Error(err)
	}
	return len(msgs)
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
