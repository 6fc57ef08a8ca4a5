package forwarder_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

func owner(b *testBundle) (name string, pid int) {
	b.t.Helper()
	_ = b.db.QueryRowContext(b.t.Context(), `SELECT coalesce(owner, '') FROM event_outbox_forwarder`).Scan(&name)
	_ = b.db.QueryRowContext(b.t.Context(), `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&pid)
	return name, pid
}

func named(name string) func(*forwarder.Config) {
	return func(c *forwarder.Config) { c.Owner, c.StandbyPoll = name, 50*time.Millisecond }
}

func TestStandbyTakesOverWhenTheOwnerStops(t *testing.T) {
	onBothTablesIfLong(t, standbyTakesOverWhenTheOwnerStops)
}

func standbyTakesOverWhenTheOwnerStops(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 6, nil)
	first := b.forwarder(named("first"))
	stop := b.run(first)
	eventually(t, "the first owns", func() bool { return first.Status().State == forwarder.Owner })
	second := b.forwarder(named("second"))
	b.run(second)
	eventually(t, "the second stands by", func() bool { return second.Status().State == forwarder.Standby })
	require.NoError(t, second.Status().Ready(), "standing by is ready")
	name, _ := owner(b)
	require.Equal(t, "first", name)

	b.insert("users", 3000, 20)
	stop()
	b.insertFrom("users", 3000, 3000, 20)
	eventually(t, "the second owns", func() bool { return second.Status().State == forwarder.Owner })
	eventually(t, "all is settled", func() bool { return b.pending() == 0 })
	require.Equal(t, tally{records: 6000, distinct: 6000}, count(t, b.broker.Records(t, "users")), "a clean handover makes no duplicate")
}

func TestLostClaimIsTakenAgain(t *testing.T) { onBothTables(t, lostClaimIsTakenAgain) }

func lostClaimIsTakenAgain(t *testing.T, b *testBundle) {
	b.roomFor(20_000)
	b.broker.CreateTopic(t, "users", 6, nil)
	b.broker.ProduceLatency(5 * time.Millisecond)
	fs := []*forwarder.Forwarder{b.forwarder(named("a")), b.forwarder(named("b"))}
	for _, f := range fs {
		b.run(f)
	}
	for i := range 20 {
		b.insertFrom("users", i*1000, 1000, 50)
		eventually(t, "someone owns", func() bool { _, pid := owner(b); return pid != 0 })
		_, pid := owner(b)
		b.exec(`SELECT pg_terminate_backend($1)`, pid)
	}
	eventually(t, "all is settled", func() bool { return b.pending() == 0 })
	got := count(t, b.broker.Records(t, "users"))
	t.Logf("%v", got)
	require.Equal(t, 20_000, got.distinct)
	require.Zero(t, got.reordered)
}

// TestLateRequestOfAnOldOwner: what an owner had on the wire reaches the broker only after a successor has sent
// it all. No lease can stop that any more; it makes duplicates, behind first deliveries that were in order.
func TestLateRequestOfAnOldOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 1, nil)
	arrived, release := make(chan int, 1), make(chan struct{})
	var first atomic.Int64
	first.Store(-1)
	b.broker.FailBatch(func(batch bustest.Batch) bustest.Action {
		if first.CompareAndSwap(-1, batch.ProducerID) {
			arrived <- batch.Records
			<-release
		}
		return bustest.Pass
	})
	var both []*forwarder.Forwarder
	for _, name := range []string{"a", "b"} {
		sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: b.broker.Brokers()}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, sender.Close()) })
		f := b.forwarder(func(c *forwarder.Config) {
			named(name)(c)
			c.Sender = sender
		})
		b.run(f)
		both = append(both, f)
	}
	b.insert("users", 2000, 20)
	late := <-arrived
	_, pid := owner(b)
	b.exec(`SELECT pg_terminate_backend($1)`, pid)
	eventually(t, "a successor has sent and settled all", func() bool { return b.pending() == 0 })
	require.Equal(t, tally{records: 2000, distinct: 2000}, count(t, b.broker.Records(t, "users")))
	close(release)
	got := count(t, b.broker.WaitRecords(t, "users", 2000+late, time.Minute))
	t.Logf("%v", got)
	require.Equal(t, 2000, got.distinct)
	require.Zero(t, got.reordered)
	// A stop before it has heard the answer would be none without a fault.
	eventually(t, "the old owner stands by", func() bool {
		return both[0].Status().State == forwarder.Standby || both[1].Status().State == forwarder.Standby
	})
}

func TestTheServerFreesAFrozenOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	store, err := outbox.NewStore(b.db, "")
	require.NoError(t, err)
	frozen, err := store.Claim(t.Context(), "frozen", 400*time.Millisecond)
	require.NoError(t, err)
	require.True(t, frozen.Valid())
	_, err = store.Claim(t.Context(), "other", time.Second)
	require.ErrorIs(t, err, outbox.ErrOwned)

	start := time.Now()
	var claim *outbox.Claim
	eventually(t, "the lock is free", func() bool {
		claim, err = store.Claim(t.Context(), "other", time.Minute)
		return err == nil
	})
	took := time.Since(start)
	t.Logf("taken over after %v", took)
	require.Less(t, took, 2*time.Second)
	require.False(t, frozen.Valid(), "the frozen owner must not act before the lock is another's")
	require.Error(t, frozen.Beat(context.Background()))
	require.NoError(t, claim.Release(t.Context()))
}

func TestMissingTableIsAnErrorThatNamesTheCommand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	f := b.forwarder(func(c *forwarder.Config) { c.Table = "no_such_outbox" })
	err := f.Run(t.Context())
	require.ErrorIs(t, err, outbox.ErrNoTable)
	require.ErrorContains(t, err, "tailrace migrate")
	require.ErrorContains(t, err, "no_such_outbox")
}

func TestConfigNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := forwarder.New(forwarder.Config{BatchSize: -1, Lease: time.Millisecond, PollMin: time.Hour, DeadLetterTopic: "not a topic"})
	for _, part := range []string{"DB is nil", "Sender is nil", "BatchSize", "Lease", "PollMin", "DeadLetterTopic"} {
		require.ErrorContains(t, err, part)
	}
}

func TestRunTwiceIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	f := b.forwarder(nil)
	b.run(f)
	eventually(t, "it runs", func() bool { return f.Status().State == forwarder.Owner })
	require.ErrorIs(t, f.Run(t.Context()), forwarder.ErrRunning)
}

func TestDrainAsksTheRunningForwarder(t *testing.T) { onBothTables(t, drainAsksTheRunningForwarder) }

func drainAsksTheRunningForwarder(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 3, nil)
	f := b.forwarder(nil)
	b.run(f)
	eventually(t, "it owns", func() bool { return f.Status().State == forwarder.Owner })
	for i := range 5 {
		b.insertFrom("users", i*500, 500, 10)
		require.NoError(t, f.Drain(t.Context()))
		require.Zero(t, b.pending())
		require.Len(t, b.broker.Records(t, "users"), (i+1)*500)
	}
	b.exec(`UPDATE event_outbox SET processed_at = NULL WHERE id <= 100`)
	require.NoError(t, f.Drain(t.Context()))
	require.Zero(t, b.pending(), "also what was made pending again")
}

func TestRunWaitsForADrainThatWasFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 3, nil)
	first := b.forwarder(nil)
	stop := b.run(first)
	eventually(t, "the first owns", func() bool { return first.Status().State == forwarder.Owner })

	f := b.forwarder(nil)
	drained := make(chan error, 1)
	go func() { drained <- f.Drain(t.Context()) }()
	eventually(t, "the drain stands by", func() bool { return f.Status().State == forwarder.Standby })
	b.run(f)
	stop()
	require.NoError(t, <-drained)
	eventually(t, "then it runs", func() bool { return f.Status().State == forwarder.Owner })
	require.ErrorIs(t, f.Run(t.Context()), forwarder.ErrRunning)
}

func TestDrainOfAnOwnedOutboxWaitsForItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.forwarder(nil)
	b.run(first)
	eventually(t, "the first owns", func() bool { return first.Status().State == forwarder.Owner })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.forwarder(nil).Drain(ctx), context.DeadlineExceeded)
}

func TestDeleteProcessedKeepsNothing(t *testing.T) { onBothTables(t, deleteProcessedKeepsNothing) }

func deleteProcessedKeepsNothing(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 3, nil)
	b.insert("users", 2000, 10)
	require.NoError(t, b.forwarder(func(c *forwarder.Config) { c.DeleteProcessed = true }).Drain(t.Context()))
	var n int
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox`).Scan(&n))
	require.Zero(t, n)
}

func TestPurgeKeepsTheRetention(t *testing.T) { onBothTables(t, purgeKeepsTheRetention) }

func purgeKeepsTheRetention(t *testing.T, b *testBundle) {
	b.roomFor(12_000)
	b.broker.CreateTopic(t, "users", 3, nil)
	b.insert("users", 12_000, 10)
	require.NoError(t, b.forwarder(nil).Drain(t.Context()))
	b.exec(`UPDATE event_outbox SET processed_at = now() - interval '8 days' WHERE id <= 11000`)
	// Dead rows at the head, more than one step of them, must not end the purge.
	b.exec(`UPDATE event_outbox SET processed_at = NULL, retry_count = max_retries WHERE id <= 5500`)
	b.run(b.forwarder(func(c *forwarder.Config) { c.PurgeInterval = 50 * time.Millisecond }))
	eventually(t, "the old ones are gone", func() bool {
		var n int
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox`).Scan(&n))
		return n == 1000+5500
	})
}
