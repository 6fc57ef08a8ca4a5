package forwarder_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder"
)

// eventually waits for a condition, asking every few milliseconds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 20*time.Millisecond, what)
}

func TestBrokerAwayCountsAgainstNoEvent(t *testing.T) {
	onBothTablesIfLong(t, brokerAwayCountsAgainstNoEvent)
}

func brokerAwayCountsAgainstNoEvent(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 6, nil)
	f := b.forwarder(nil)
	b.run(f)
	b.insert("users", 500, 10)
	b.broker.WaitRecords(t, "users", 500, patience)

	b.broker.Stop()
	b.insertFrom("users", 500, 2000, 10)
	eventually(t, "readiness tells that the broker is away", func() bool { return f.Status().Ready() != nil && f.Status().Broker != nil })
	// Three attempts with 50 ms backoff would be spent many times over.
	deadline := time.Now().Add(3 * time.Second)
	eventually(t, "the outage lasts", func() bool { return time.Now().After(deadline) })
	var moved int
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox WHERE retry_count > 0`).Scan(&moved))
	require.Zero(t, moved, "no row's retry_count moved")
	b.broker.Restart(t)

	records := b.broker.WaitRecords(t, "users", 2500, patience)
	require.Equal(t, 2500, count(t, records).distinct)
	require.Zero(t, count(t, records).reordered)
	eventually(t, "ready again", func() bool { return f.Status().Ready() == nil })
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox WHERE retry_count > 0`).Scan(&moved))
	require.Zero(t, moved)
}

func TestRandomProduceFaultsOfOnePartition(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 4, nil)
	var injected atomic.Int64
	b.broker.FailProduce(func(_ string, partition int32) bustest.Action {
		if partition != 1 || rand.IntN(100) >= 30 {
			return bustest.Pass
		}
		injected.Add(1)
		switch rand.IntN(6) {
		case 0:
			return bustest.RefuseBefore(sarama.ErrNotEnoughReplicas)
		case 1:
			return bustest.RefuseAfter(sarama.ErrNotEnoughReplicasAfterAppend)
		case 2:
			return bustest.RefuseBefore(sarama.ErrNotLeaderForPartition)
		case 3:
			return bustest.RefuseAfter(sarama.ErrRequestTimedOut)
		case 4:
			return bustest.DropBefore
		default:
			return bustest.DropAfter
		}
	})
	// Small batches, so that many requests meet the faults.
	sender, err := kafka.NewSender(kafka.SenderConfig{
		Config: kafka.Config{Brokers: b.broker.Brokers()}, BatchRecords: 20,
		RetryBackoff: time.Millisecond, RetryBackoffMax: 20 * time.Millisecond,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, sender.Close()) }()
	stop := b.run(b.forwarder(func(c *forwarder.Config) { c.Sender = sender; c.BatchSize = 200 }))
	for i := range 20 {
		b.insertFrom("users", i*1000, 1000, 500)
	}
	eventually(t, "all is settled", func() bool { return b.pending() == 0 })
	stop()
	t.Logf("%d faults", injected.Load())
	require.Greater(t, injected.Load(), int64(50))
	require.Equal(t, tally{records: 20_000, distinct: 20_000}, count(t, b.broker.Records(t, "users")))
}

func TestForbiddenTopicWaitsAlone(t *testing.T) { onBothTablesIfLong(t, forbiddenTopicWaitsAlone) }

func forbiddenTopicWaitsAlone(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 3, nil)
	b.broker.CreateTopic(t, "orders", 3, nil)
	f := b.forwarder(nil)
	b.run(f)
	b.insert("orders", 300, 10)
	b.broker.WaitRecords(t, "orders", 300, patience)
	b.broker.Deny("orders")
	b.insertFrom("orders", 300, 2000, 10)
	b.insert("users", 1000, 10)

	b.broker.WaitRecords(t, "users", 1000, patience)
	eventually(t, "the topic is paused", func() bool { return len(f.Status().Paused) == 1 })
	require.NoError(t, f.Status().Ready(), "other topics flow")
	var dead int
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox WHERE retry_count > 0`).Scan(&dead))
	require.Zero(t, dead)
	b.broker.Allow("orders")

	eventually(t, "all is settled", func() bool { return b.pending() == 0 })
	require.Equal(t, tally{records: 2300, distinct: 2300}, count(t, b.broker.Records(t, "orders")))
	require.Equal(t, tally{records: 1000, distinct: 1000}, count(t, b.broker.Records(t, "users")))
}

func TestUnknownTopicIsDrainedWithItsReason(t *testing.T) {
	onBothTablesIfLong(t, unknownTopicIsDrainedWithItsReason)
}

func unknownTopicIsDrainedWithItsReason(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 3, nil)
	b.insert("missing", 500, 20)
	b.insertFrom("missing", 500, 30, 0)
	b.insert("users", 500, 20)
	f := b.forwarder(nil)

	err := f.Drain(t.Context())

	require.ErrorIs(t, err, forwarder.ErrWaiting)
	require.ErrorContains(t, err, "missing")
	require.Equal(t, 500, count(t, b.broker.Records(t, "users")).distinct)
	require.Equal(t, 530, b.pending())

	b.broker.CreateTopic(t, "missing", 3, nil)
	require.NoError(t, b.forwarder(nil).Drain(t.Context()))
	require.Len(t, b.broker.Records(t, "missing"), 530)
}

func TestHeadsOfAnUnknownTopicDieOneByOne(t *testing.T) {
	onBothTables(t, headsOfAnUnknownTopicDieOneByOne)
}

func headsOfAnUnknownTopicDieOneByOne(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "dead", 1, nil)
	b.insert("missing", 40, 4)
	b.insertFrom("missing", 100, 10, 0)
	f := b.forwarder(func(c *forwarder.Config) {
		c.TopicRetryMin, c.TopicRetryMax = 300*time.Millisecond, 300*time.Millisecond
	})
	stop := b.run(f)

	// Three attempts spent by each of the four keys' heads and by one row without key.
	copies := b.broker.WaitRecords(t, "dead", 5, patience)
	stop()
	require.Less(t, len(copies), 25, "none dies in bulk")
	for _, r := range copies {
		topic, _ := r.Header(deadletter.HeaderTopic)
		require.Equal(t, "missing", topic)
	}
	b.broker.CreateTopic(t, "missing", 2, nil)
	require.NoError(t, b.forwarder(nil).Drain(t.Context()))
	require.Len(t, b.broker.Records(t, "missing"), 50-dead(b), "the others arrive")
	require.Len(t, b.broker.Records(t, "dead"), dead(b))
}

// dead returns how many rows are dead.
func dead(b *testBundle) (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), `SELECT count(*) FROM event_outbox WHERE processed_at IS NULL AND retry_count >= max_retries`).Scan(&n))
	return n
}

func TestTooLargeRecordDiesAndItsKeyMovesOn(t *testing.T) {
	onBothTables(t, tooLargeRecordDiesAndItsKeyMovesOn)
}

func tooLargeRecordDiesAndItsKeyMovesOn(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 2, map[string]string{"max.message.bytes": "20000"})
	b.broker.CreateTopic(t, "dead", 1, map[string]string{"max.message.bytes": "20000"})
	b.insert("users", 200, 4)
	b.exec(`UPDATE event_outbox SET payload = convert_to(repeat('x', 50000), 'UTF8'), headers = '{"ce_type":"big"}' WHERE event_id = 'users-100'`)
	f := b.forwarder(nil)
	b.run(f)

	copies := b.broker.WaitRecords(t, "dead", 1, patience)
	eventually(t, "all others are settled", func() bool { return b.pending() == 0 })

	records := b.broker.Records(t, "users")
	require.Len(t, records, 199)
	last := map[string]int{}
	for _, r := range records {
		n, err := strconv.Atoi(string(r.Value))
		require.NoError(t, err)
		if prior, seen := last[string(r.Key)]; seen {
			require.Greater(t, n, prior, "in order, but for the dead one")
		}
		last[string(r.Key)] = n
	}
	require.Len(t, copies, 1)
	require.Nil(t, copies[0].Value, "the copy does not fit with its payload")
	for name, want := range map[string]string{
		"_watermill_message_uuid": "users-100", "ce_type": "big", deadletter.HeaderTopic: "users", deadletter.HeaderKey: "k0",
		deadletter.HeaderAttempts: "3", deadletter.HeaderSource: "outbox", deadletter.HeaderOmitted: "50000",
	} {
		got, _ := copies[0].Header(name)
		require.Equal(t, want, got, name)
	}
	reason, _ := copies[0].Header(deadletter.HeaderReason)
	require.Contains(t, reason, "large")
	require.Equal(t, 1, dead(b))

	t.Run("sent again by hand", func(t *testing.T) {
		b.exec(`UPDATE event_outbox SET retry_count = 0, payload = '25' WHERE event_id = 'users-100'`)
		b.exec(`UPDATE event_outbox SET processed_at = NULL WHERE event_id = 'users-3'`)
		eventually(t, "the dead row and the old one are sent", func() bool { return len(b.broker.Records(t, "users")) == 201 })
		eventually(t, "settled", func() bool { return b.pending() == 0 && dead(b) == 0 })
	})
}

func TestEveryRecordThatFitsAloneArrives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 1, map[string]string{"max.message.bytes": "1500"})
	b.insert("users", 3000, 7)
	require.NoError(t, b.forwarder(nil).Drain(t.Context()))
	require.Equal(t, tally{records: 3000, distinct: 3000}, count(t, b.broker.Records(t, "users")))
}

func TestUndecodableHeadersCountAgainstTheEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 1, nil)
	b.broker.CreateTopic(t, "dead", 1, nil)
	b.insert("users", 20, 2)
	b.exec(`UPDATE event_outbox SET headers = '["not", "an object"]' WHERE event_id IN ('users-4', 'users-18')`)
	b.run(b.forwarder(nil))
	copies := b.broker.WaitRecords(t, "dead", 2, patience)
	eventually(t, "settled", func() bool { return b.pending() == 0 })
	require.Len(t, b.broker.Records(t, "users"), 18)
	require.Equal(t, "2", string(copies[0].Value), "the copy keeps the payload")
}

func TestDeathWaitsForItsCopy(t *testing.T) { onBothTables(t, deathWaitsForItsCopy) }

func deathWaitsForItsCopy(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 1, map[string]string{"max.message.bytes": "2000"})
	b.insert("users", 10, 1)
	b.exec(`UPDATE event_outbox SET payload = convert_to(repeat('x', 5000), 'UTF8') WHERE event_id = 'users-5'`)
	stop := b.run(b.forwarder(nil))
	b.broker.WaitRecords(t, "users", 5, patience)
	eventually(t, "two attempts are counted", func() bool {
		var n int
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT retry_count FROM event_outbox WHERE event_id = 'users-5'`).Scan(&n))
		return n == 2
	})
	require.Len(t, b.broker.Records(t, "users"), 5)
	require.Equal(t, 5, b.pending(), "without a dead-letter topic the key waits, and the event does not die")
	stop()
	b.broker.CreateTopic(t, "dead", 1, nil)
	b.run(b.forwarder(nil))
	b.broker.WaitRecords(t, "dead", 1, patience)
	b.broker.WaitRecords(t, "users", 9, patience)
	eventually(t, "settled", func() bool { return b.pending() == 0 && dead(b) == 1 })
}

func TestSequenceThatJumpsBackSkipsNothing(t *testing.T) {
	onBothTables(t, sequenceThatJumpsBackSkipsNothing)
}

func sequenceThatJumpsBackSkipsNothing(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 2, nil)
	b.run(b.forwarder(nil))
	b.jump(100_000)
	b.insert("users", 100, 5)
	b.broker.WaitRecords(t, "users", 100, patience)
	b.jump(500)
	b.insertFrom("users", 100, 100, 5)
	records := b.broker.WaitRecords(t, "users", 200, patience)
	require.Equal(t, tally{records: 200, distinct: 200}, count(t, records))
}

// TestADeathWaitsForWhatWasSentBehindIt: an event that was refused before, and is sent again by a new owner with
// others of its key behind it, may die before the sender has said of these that it kept them back.
func TestADeathWaitsForWhatWasSentBehindIt(t *testing.T) {
	onBothTablesIfLong(t, aDeathWaitsForWhatWasSentBehindIt)
}

func aDeathWaitsForWhatWasSentBehindIt(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 1, map[string]string{"max.message.bytes": "30000"})
	b.broker.CreateTopic(t, "orders", 1, nil)
	b.broker.CreateTopic(t, "dead", 1, nil)
	sender, err := kafka.NewSender(kafka.SenderConfig{
		Config: kafka.Config{Brokers: b.broker.Brokers()}, BatchRecords: 1, RetryBackoff: time.Millisecond, RetryBackoffMax: 5 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sender.Close()) })
	insert := func(topic, key, value string, retries int) {
		b.exec(`INSERT INTO event_outbox (event_id, topic, key, payload, retry_count) VALUES (gen_random_uuid()::text, $1, $2, $3, $4)`,
			topic, []byte(key), []byte(value), retries)
	}
	insert("users", "ada", strings.Repeat("x", 60_000), 2)
	insert("users", "bob", "holds the partition up", 0)
	for _, value := range []string{"1", "2", "3"} {
		insert("users", "ada", value, 0)
	}
	var busy atomic.Bool
	busy.Store(true)
	b.broker.FailBatch(func(batch bustest.Batch) bustest.Action {
		if busy.Load() && batch.Topic == "users" && batch.Bytes < 30_000 {
			return bustest.RefuseBefore(sarama.ErrNotEnoughReplicas)
		}
		return bustest.Pass
	})
	b.run(b.forwarder(func(c *forwarder.Config) { c.Sender = sender }))
	eventually(t, "it is dead", func() bool {
		var n int
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox WHERE retry_count >= max_retries`).Scan(&n))
		return n == 1
	})
	insert("users", "ada", "4", 0)
	insert("orders", "ada", "read behind it", 0)
	b.broker.WaitRecords(t, "orders", 1, patience)
	busy.Store(false)

	var ada []string
	for _, record := range b.broker.WaitRecords(t, "users", 5, patience) {
		if string(record.Key) == "ada" {
			ada = append(ada, string(record.Value))
		}
	}
	require.Equal(t, []string{"1", "2", "3", "4"}, ada)
}

// TestLogsHoldNoPayload walks the ways on which something is told of events: refused, dead, found behind the reader,
// with a topic that is missing, with headers that are none.
func TestLogsHoldNoPayload(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	b := setup(t)
	b.broker.CreateTopic(t, "users", 1, map[string]string{"max.message.bytes": "30000"})
	b.broker.CreateTopic(t, "dead", 1, nil)
	var mu sync.Mutex
	var log strings.Builder
	b.run(b.forwarder(func(c *forwarder.Config) {
		c.Logger = slog.New(slog.NewTextHandler(locked{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.TopicRetryMin = 50 * time.Millisecond
	}))
	told := func(what string, n int) {
		t.Helper()
		eventually(t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Count(log.String(), what) >= n
		})
	}
	insert := func(topic, value string) {
		b.exec(`INSERT INTO event_outbox (event_id, topic, key, payload) VALUES (gen_random_uuid()::text, $1, 'ada', $2)`, topic, []byte(value))
	}
	insert("users", secret)
	b.broker.WaitRecords(t, "users", 1, patience)
	eventually(t, "it is settled", func() bool { return b.pending() == 0 })
	b.exec(`UPDATE event_outbox SET processed_at = NULL`)
	told("found pending rows behind the reader", 1)
	insert("users", strings.Repeat(secret, 10_000))
	told("an event is dead", 1)
	insert("nowhere", secret)
	told("a topic is still paused", 1)
	b.exec(`INSERT INTO event_outbox (event_id, topic, key, payload, headers) VALUES ('x', 'users', 'bob', 'x', json_build_object('n', json_build_array($1::text)))`, secret)
	told("an event is dead", 2)

	mu.Lock()
	defer mu.Unlock()
	require.NotContains(t, log.String(), secret)
}

// locked is a log that several write and the test reads.
type locked struct {
	mu  *sync.Mutex
	out *strings.Builder
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func TestLateCommits(t *testing.T) { onBothTables(t, lateCommits) }

func lateCommits(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 6, nil)
	b.exec(`CREATE TABLE aggregate (id int PRIMARY KEY, version int NOT NULL DEFAULT 0)`)
	const keys, writers = 200, 8
	perWriter := 800
	if os.Getenv("TAILRACE_LONG") != "" {
		perWriter = 2500
	}
	b.roomFor(writers * perWriter * 2)
	b.exec(`INSERT INTO aggregate (id) SELECT generate_series(0, $1::int - 1)`, keys)
	b.run(b.forwarder(nil))
	sent := make(chan int, writers)
	for range writers {
		go func() { sent <- write(b, perWriter, keys) }()
	}
	total := 0
	for range writers {
		total += <-sent
	}
	eventually(t, "all is settled", func() bool { return b.pending() == 0 })
	got := count(t, b.broker.Records(t, "users"))
	t.Logf("%d committed; %v", total, got)
	require.Equal(t, tally{records: total, distinct: total}, got)
}

// write publishes n events of random aggregates, each after taking its row's lock; 5% of the transactions
// are held open and 1% rolled back. It returns how many it committed.
func write(b *testBundle, n, keys int) (committed int) {
	for range n {
		func() {
			tx, err := b.db.BeginTx(context.Background(), nil)
			if err != nil {
				b.t.Error(err)
				return
			}
			defer func() { _ = tx.Rollback() }()
			key := rand.IntN(keys)
			var version int
			if err := tx.QueryRow(`UPDATE aggregate SET version = version + 1 WHERE id = $1 RETURNING version - 1`, key).Scan(&version); err != nil {
				b.t.Error(err)
				return
			}
			if _, err := tx.Exec(`INSERT INTO event_outbox (event_id, topic, payload, key) VALUES (gen_random_uuid()::text, 'users', $1, $2)`,
				[]byte(strconv.Itoa(version)), []byte("k"+strconv.Itoa(key))); err != nil {
				b.t.Error(err)
				return
			}
			switch chance := rand.IntN(100); {
			case chance == 0:
				return
			case chance <= 5:
				if _, err := tx.Exec(`SELECT pg_sleep($1)`, 0.02+rand.Float64()*0.08); err != nil {
					b.t.Error(err)
					return
				}
			}
			if err := tx.Commit(); err != nil {
				b.t.Error(err)
				return
			}
			committed++
		}()
	}
	return committed
}

func TestLowerIDCommittedLongAfterHigherOnes(t *testing.T) {
	onBothTables(t, lowerIDCommittedLongAfterHigherOnes)
}

func lowerIDCommittedLongAfterHigherOnes(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 2, nil)
	b.run(b.forwarder(nil))
	tx, err := b.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.Exec(`INSERT INTO event_outbox (event_id, topic, payload, key) VALUES ('late', 'users', '0', 'late')`)
	require.NoError(t, err)
	// Enough gaps of transactions that ended to have them dropped while this one stays.
	for i := range 50 {
		other, err := b.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = other.Exec(`SELECT nextval('event_outbox_id_seq')`)
		require.NoError(t, err)
		require.NoError(t, other.Rollback())
		b.insertFrom("users", i*100, 100, 10)
	}
	b.broker.WaitRecords(t, "users", 5000, patience)
	eventually(t, "all others are settled, the open transaction delays nothing", func() bool { return b.pending() == 0 })
	require.NoError(t, tx.Commit())
	b.broker.WaitRecords(t, "users", 5001, 5*time.Second)
}

func TestOpenTransactionElsewhereDelaysNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 2, nil)
	other, _ := bustest.Postgres(t)
	tx, err := other.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.Exec(`CREATE TABLE elsewhere (id int)`)
	require.NoError(t, err)
	b.run(b.forwarder(nil))
	b.insert("users", 1000, 10)
	b.broker.WaitRecords(t, "users", 1000, 5*time.Second)
	require.NoError(t, tx.Rollback())
}

func TestGarbageRowsDieAlone(t *testing.T) { onBothTablesIfLong(t, garbageRowsDieAlone) }

func garbageRowsDieAlone(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 2, nil)
	b.broker.CreateTopic(t, "dead", 1, nil)
	garbage := []struct{ topic, headers string }{
		{"", `{}`},
		{".", `{}`},
		{"..", `{}`},
		{"with space", `{}`},
		{"ümlaut", `{}`},
		{strings.Repeat("x", 255), `{}`},
		{"users", `[]`},
		{"users", `{"n":1}`},
		{"users", `"text"`},
		{"users", `{"deep":{"er":"x"}}`},
	}
	for i, g := range garbage {
		b.exec(`INSERT INTO event_outbox (event_id, topic, payload, key, headers) VALUES ($1, $2, '', $3, $4)`,
			fmt.Sprintf("garbage-%d", i), g.topic, fmt.Appendf(nil, "k%d", i%3), g.headers)
	}
	b.insert("users", 300, 3)
	b.run(b.forwarder(nil))

	b.broker.WaitRecords(t, "users", 300, patience)
	copies := b.broker.WaitRecords(t, "dead", len(garbage), patience)
	eventually(t, "all is settled or dead", func() bool { return b.pending() == 0 })
	require.Equal(t, len(garbage), dead(b))
	require.Equal(t, tally{records: 300, distinct: 300}, count(t, b.broker.Records(t, "users")))
	for _, r := range copies {
		reason, _ := r.Header(deadletter.HeaderReason)
		require.NotEmpty(t, reason)
		require.NotNil(t, r.Value, "an empty payload is not a missing one")
	}
	var told int
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox WHERE error_message <> '' AND retry_count = max_retries`).Scan(&told))
	require.Equal(t, len(garbage), told, "the row says why")
}

// TestLargeRowsAreReadInSmallParts gives the window room for a few of the rows only, read forward and
// again after the topic was away.
func TestLargeRowsAreReadInSmallParts(t *testing.T) {
	onBothTablesIfLong(t, largeRowsAreReadInSmallParts)
}

func largeRowsAreReadInSmallParts(t *testing.T, b *testBundle) {
	b.exec(`INSERT INTO event_outbox (event_id, topic, payload, key, headers)
		SELECT 'users-' || i, 'users', convert_to((i / 5)::text, 'UTF8'), convert_to('k' || (i % 5), 'UTF8'), json_build_object('pad', repeat('x', 100000))
		FROM generate_series(0, 299) i ORDER BY i`)
	f := b.forwarder(func(c *forwarder.Config) { c.WindowBytes = 1_000_000 })
	b.run(f)
	eventually(t, "all wait for the topic", func() bool { return f.Status().Waiting == 300 })
	b.broker.CreateTopic(t, "users", 3, nil)
	b.insertFrom("users", 300, 100, 5)
	records := b.broker.WaitRecords(t, "users", 400, patience)
	require.Equal(t, tally{records: 400, distinct: 400}, count(t, records))
}

func TestRowMendedWhileItWaits(t *testing.T) { onBothTables(t, rowMendedWhileItWaits) }

func rowMendedWhileItWaits(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 2, nil)
	b.exec(`INSERT INTO event_outbox (event_id, topic, payload, key, max_retries) VALUES ('1', 'no topic!', '0', 'k', 1000), ('2', 'no topic!', '1', 'k', 1000)`)
	b.run(b.forwarder(func(c *forwarder.Config) { c.RetryMax = 100 * time.Millisecond }))
	eventually(t, "an attempt is counted", func() bool {
		var n int
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT retry_count FROM event_outbox WHERE event_id = '1'`).Scan(&n))
		return n > 0
	})
	b.exec(`UPDATE event_outbox SET topic = 'users'`)
	records := b.broker.WaitRecords(t, "users", 2, patience)
	require.Len(t, records, 2)
	eventually(t, "settled", func() bool { return b.pending() == 0 })
}

func TestRowWithoutKeyIsRefusedAsATopicReturns(t *testing.T) {
	onBothTablesIfLong(t, rowWithoutKeyIsRefusedAsATopicReturns)
}

func rowWithoutKeyIsRefusedAsATopicReturns(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "dead", 1, nil)
	b.exec(`INSERT INTO event_outbox (event_id, topic, payload) VALUES ('big', 'users', convert_to(repeat('x', 50000), 'UTF8'))`)
	b.insert("users", 50, 0)
	f := b.forwarder(nil)
	b.run(f)
	eventually(t, "all wait for the topic", func() bool { return f.Status().Waiting == 51 })
	b.broker.CreateTopic(t, "users", 2, map[string]string{"max.message.bytes": "20000"})
	b.broker.WaitRecords(t, "users", 50, patience)
	b.broker.WaitRecords(t, "dead", 1, patience)
	eventually(t, "settled", func() bool { return b.pending() == 0 && dead(b) == 1 })
}

// TestProbeThatAnOperatorSettled takes away, again and again, the row that would tell that its topic is
// back.
func TestProbeThatAnOperatorSettled(t *testing.T) { onBothTablesIfLong(t, probeThatAnOperatorSettled) }

func probeThatAnOperatorSettled(t *testing.T, b *testBundle) {
	b.insert("users", 60, 60)
	f := b.forwarder(nil)
	b.run(f)
	eventually(t, "all wait for the topic", func() bool { return f.Status().Waiting == 60 })
	// The lowest row is the next to be tried, and the only one of its key.
	b.exec(`UPDATE event_outbox SET processed_at = now() WHERE id <= 5`)
	b.broker.CreateTopic(t, "users", 2, nil)
	b.broker.WaitRecords(t, "users", 55, patience)
	eventually(t, "nothing waits", func() bool { return f.Status().Waiting == 0 && b.pending() == 0 })
}
