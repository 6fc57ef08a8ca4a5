package watermillsql_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/forwarder"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

// TestBothAtOnce: Watermill's forwarder and ours work on the same tables at the same time, against all
// advice. Nothing is lost.
func TestBothAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	var log recordedLog
	f := b.forwarder(func(c *watermillsql.Config) { c.Logger = log.logger(t) })
	stop := b.run(f)
	eventually(t, "ours works", func() bool { return f.Status().State == forwarder.Owner })
	proceed := make(chan struct{})
	b.broker.FailProduce(func(string, int32) bustest.Action {
		<-proceed
		return bustest.Pass
	})
	b.publish(200, 40, 4)
	eventually(t, "ours has sent them, and has no answer", func() bool { return f.Status().Flying == 200 })
	w := b.watermill(1 << 30)
	eventually(t, "Watermill's forwarder has taken a batch of them", func() bool { return w.begun.Load() > 0 })
	close(proceed)
	w.waitPublished(1)
	events := 600
	if long() {
		events = 2_000
	}
	for range events / 50 {
		b.publish(50, 40, 4)
	}
	b.waitPassed()
	w.stop()
	b.waitPassed()
	stop()
	c := b.count(orders)
	t.Logf("%v; %d by Watermill's forwarder; the position was moved %d times", c, w.published.Load(), log.count("another program moved the position"))
	require.Equal(t, tally{sent: c.sent, delivered: c.sent, twice: c.twice}, c)
	require.Positive(t, log.count("another program moved the position"))
}

// TestRivalHoldsTheRow: while Watermill's forwarder has the offsets row locked, ours does not start, says so,
// and starts from where the other ends.
func TestRivalHoldsTheRow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	stop := b.run(b.forwarder())
	b.publish(10, 4, 2)
	eventually(t, "the first are passed", func() bool { return b.rows() == 10 && b.behind() == 0 })

	hold := func() (release func()) {
		tx, err := b.db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec(`SELECT FROM watermill_offsets_events_to_forward FOR UPDATE`)
		require.NoError(t, err)
		return func() { require.NoError(t, tx.Commit()) }
	}
	quick := func(c *watermillsql.Config) { c.LockTimeout = 20 * time.Millisecond }
	saysSo := func(f *watermillsql.Forwarder) func() bool {
		return func() bool {
			err := f.Status().Ready()
			return err != nil && strings.Contains(err.Error(), "another program holds the offsets row")
		}
	}
	stop()
	release := hold()
	f := b.forwarder(quick)
	stop = b.run(f)
	eventually(t, "it does not start", saysSo(f))
	require.Equal(t, forwarder.Standby, f.Status().State)
	release()
	eventually(t, "it starts", func() bool { return f.Status().State == forwarder.Owner && f.Status().Ready() == nil })

	// In the middle of its work, too.
	release = b.holdWithoutTransactionID()
	b.publish(10, 4, 2)
	eventually(t, "it waits", saysSo(f))
	release()
	b.waitPassed()
	eventually(t, "ready again", func() bool { return f.Status().Ready() == nil })
	stop()
	require.Equal(t, tally{sent: 20, delivered: 20}, b.count(orders))
}

// holdWithoutTransactionID keeps the offsets row from being written by a lock that has no transaction id, so
// that messages can be read meanwhile.
func (b *bundle) holdWithoutTransactionID() (release func()) {
	tx, err := b.db.Begin()
	require.NoError(b.t, err)
	_, err = tx.Exec(`LOCK TABLE watermill_offsets_events_to_forward IN SHARE ROW EXCLUSIVE MODE`)
	require.NoError(b.t, err)
	return func() { require.NoError(b.t, tx.Commit()) }
}

// TestPositionMovedByHand: an operator sets the position back, and forward, while ours works.
func TestPositionMovedByHand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	b.publish(100, 10, 2)
	var log recordedLog
	stop := b.run(b.forwarder(func(c *watermillsql.Config) { c.Logger = log.logger(t) }))
	b.waitPassed()
	b.exec(`DELETE FROM watermill_offsets_events_to_forward`)
	b.broker.WaitRecords(t, orders, 200, patience)
	b.waitPassed()
	stop()
	require.Equal(t, tally{sent: 100, delivered: 100, twice: 100}, b.count(orders))
	require.Equal(t, 1, log.count("another program moved the position"))
}

// TestPositionMovedWhileStopping: a forwarder that was told to stop, and waits for the broker, has nothing to
// finish any more when another program has passed what is on its way. That is a clean stop.
func TestPositionMovedWhileStopping(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	b.publish(20, 4, 2)
	proceed := make(chan struct{})
	b.broker.FailProduce(func(string, int32) bustest.Action {
		<-proceed
		return bustest.Pass
	})
	var log recordedLog
	f := b.forwarder(func(c *watermillsql.Config) { c.Logger = log.logger(t) })
	cancel, wait := b.start(f)
	eventually(t, "all is on its way", func() bool { return f.Status().Flying == 20 })
	cancel()
	b.exec(`UPDATE watermill_offsets_events_to_forward SET (last_processed_transaction_id, offset_acked) =
		(SELECT transaction_id, "offset" FROM watermill_events_to_forward ORDER BY transaction_id DESC, "offset" DESC LIMIT 1)`)
	eventually(t, "it notices", func() bool { return log.count("another program moved the position") == 1 })
	close(proceed)
	wait()
	require.Zero(t, b.behind(), "the position stays where the other has put it")
	c := b.count(orders) // only what was on the wire: the rest is the other's, which this one pretends to be
	require.Equal(t, tally{sent: 20, delivered: c.delivered, lost: 20 - c.delivered}, c)
}

// TestStandbyTakesOver: of two of ours one works; when it is cut off, or stops, the other does.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	first, second := b.forwarder(), b.forwarder()
	stopFirst := b.run(first)
	eventually(t, "the first works", func() bool { return first.Status().State == forwarder.Owner })
	stopSecond := b.run(second)
	eventually(t, "the second stands by", func() bool { return second.Status().State == forwarder.Standby })
	require.ErrorIs(t, second.Run(t.Context()), forwarder.ErrRunning)
	b.publish(100, 10, 2)
	b.waitPassed()
	require.Equal(t, forwarder.Standby, second.Status().State)
	require.NoError(t, second.Status().Ready())
	stopFirst()
	b.publish(100, 10, 2)
	b.waitPassed()
	require.Equal(t, forwarder.Owner, second.Status().State)
	stopSecond()
	require.Equal(t, tally{sent: 200, delivered: 200}, b.count(orders))
}

// TestOtherGroup has a position of its own.
func TestOtherGroup(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	b.publish(50, 10, 2)
	stop := b.run(b.forwarder())
	b.group = "other"
	stopOther := b.run(b.forwarder())
	b.waitPassed()
	b.group = ""
	b.waitPassed()
	stop()
	stopOther()
	require.Equal(t, tally{sent: 50, delivered: 50, twice: 50}, b.count(orders))
}

// TestOpenTransactions: one of another database holds Watermill's forwarder up and not ours; one of this
// database holds up both, since it might yet write a message that belongs before the others.
func TestOpenTransactions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	b.publish(10, 4, 2)
	stop := b.run(b.forwarder())
	b.waitPassed()
	other, _ := bustest.Postgres(t)
	elsewhere, err := other.Begin()
	require.NoError(t, err)
	_, err = elsewhere.Exec(`CREATE TABLE t ()`)
	require.NoError(t, err)

	b.publish(10, 4, 2)
	b.waitPassed()
	stop()
	require.Equal(t, tally{sent: 20, delivered: 20}, b.count(orders))
	w := b.watermill(1 << 30)
	b.publish(10, 4, 2)
	eventually(t, "Watermill's forwarder looks in vain", b.watermillLooked(5))
	require.Zero(t, w.published.Load(), "what ours does better is no longer needed")
	w.stop()
	stop = b.run(b.forwarder())
	b.waitPassed()

	here, err := b.db.Begin()
	require.NoError(t, err)
	_, err = here.Exec(`CREATE TABLE t ()`)
	require.NoError(t, err)
	b.publish(10, 4, 2)
	eventually(t, "ours looks in vain", b.watermillLooked(5))
	require.Equal(t, 10, b.behind())
	require.NoError(t, b.publishIn(here, orders, b.message("k0")), "it does write one")
	require.NoError(t, here.Commit())
	b.waitPassed()
	require.NoError(t, elsewhere.Rollback())
	stop()
	require.Equal(t, tally{sent: 41, delivered: 41}, b.count(orders))
}

// watermillLooked is a condition: so many statements have read the table of messages.
func (b *bundle) watermillLooked(times int) func() bool {
	scans := func() (n int) {
		require.NoError(b.t, b.db.QueryRow(`SELECT coalesce(sum(idx_scan + seq_scan), 0) FROM pg_stat_user_tables WHERE relname = 'watermill_events_to_forward'`).Scan(&n))
		return n
	}
	before := scans()
	return func() bool { return scans() >= before+times }
}

// TestUnprivileged: a role that may read the messages and write the offsets is enough, also to tell whose
// the open transactions are.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, orders, 3, nil)
	b.publish(10, 4, 2)
	stop := b.run(b.forwarder())
	b.waitPassed()
	stop()
	role := fmt.Sprintf("forwards_%d", time.Now().UnixNano())
	b.exec(`CREATE ROLE ` + role + ` LOGIN PASSWORD 'forwards'; GRANT SELECT ON watermill_events_to_forward TO ` + role + `;
		GRANT SELECT, INSERT, UPDATE ON watermill_offsets_events_to_forward TO ` + role)
	t.Cleanup(func() {
		_, err := b.db.ExecContext(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role)
		require.NoError(t, err)
	})
	other, _ := bustest.Postgres(t)
	elsewhere, err := other.Begin()
	require.NoError(t, err)
	_, err = elsewhere.Exec(`CREATE TABLE t ()`)
	require.NoError(t, err)
	limited := b.open(func(c *pq.Config) { c.User, c.Password = role, "forwards" })
	stop = b.run(b.forwarder(func(c *watermillsql.Config) { c.DB = limited }))
	b.publish(10, 4, 2)
	b.waitPassed()
	stop()
	require.NoError(t, elsewhere.Rollback())
	require.Equal(t, tally{sent: 20, delivered: 20}, b.count(orders))
}

func TestUnfit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`DROP TABLE watermill_events_to_forward`)
	require.ErrorIs(t, b.forwarder().Run(t.Context()), watermillsql.ErrNoTable)
	b.exec(`CREATE TABLE watermill_events_to_forward (id int)`)
	require.ErrorIs(t, b.forwarder().Run(t.Context()), watermillsql.ErrShape)
	_, err := watermillsql.New(watermillsql.Config{Topic: `a"b`, Attempts: -1, BatchSize: 1 << 30, Lease: 1, PollMin: time.Hour, DeadLetterTopic: "a b"})
	for _, want := range []string{"DB is nil", "Sender is nil", `'"' at byte 1`, "Attempts is -1", "BatchSize", "Lease is 1ns", "PollMin", "DeadLetterTopic"} {
		require.ErrorContains(t, err, want)
	}
}

// recordedLog counts lines.
type recordedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *recordedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *recordedLog) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), words)
}
