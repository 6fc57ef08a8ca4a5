package inbox_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/inbox"
)

// fill writes n marks of that age, each a millisecond younger than the one before it.
func (b bundle) fill(t testing.TB, n int, age string) {
	t.Helper()
	b.exec(t, `INSERT INTO event_inbox (consumer, event_id, handled_at)
		SELECT 'c', $2 || i, now() - $2::interval + i * interval '1 ms' FROM generate_series(1, $1::int) i`, n, age)
}

func TestPurgeDeletesWhatIsOlderThanTheRetention(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(t, 12_345, "8 days")
	b.fill(t, 100, "6 days")
	registry := prometheus.NewRegistry()
	x := b.inbox(t, inbox.Config{Metrics: registry})
	once := x.Once("c", func(*message.Message) error { return nil })
	require.NoError(t, once(message.NewMessage("now", nil)))

	purged, err := x.Purge(b.ctx)
	require.NoError(t, err)
	require.Equal(t, int64(12_345), purged)
	require.Equal(t, 101, b.count(t, `SELECT count(*) FROM event_inbox`))
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP tailrace_inbox_purged_rows_total Marks deleted after the retention.
# TYPE tailrace_inbox_purged_rows_total counter
tailrace_inbox_purged_rows_total{inbox="event_inbox"} 12345
`), "tailrace_inbox_purged_rows_total"))

	purged, err = b.inbox(t, inbox.Config{Retention: 24 * time.Hour}).Purge(b.ctx)
	require.NoError(t, err)
	require.Equal(t, int64(100), purged)
	purged, err = b.inbox(t, inbox.Config{Retention: -1}).Purge(b.ctx)
	require.NoError(t, err)
	require.Zero(t, purged, "for ever")
}

// A step reads the rows that it deletes, also while an old snapshot keeps all that were deleted before.
func TestPurgeDoesNotReadWhatItDeletedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(t, 60_000, "8 days")
	b.exec(t, `ANALYZE event_inbox`)
	snapshot, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	defer func() { _ = snapshot.Rollback() }()
	_, err = snapshot.ExecContext(b.ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM event_inbox LIMIT 1`)
	require.NoError(t, err)
	purged, err := b.inbox(t, inbox.Config{}).Purge(b.ctx)
	require.NoError(t, err)
	require.Equal(t, int64(60_000), purged)
	require.Eventually(t, func() bool {
		return b.count(t, `SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE indexrelname = 'event_inbox_handled_at_idx'`) >= 60_000
	}, patience, tick)
	require.Less(t, b.count(t, `SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE indexrelname = 'event_inbox_handled_at_idx'`), 150_000)
}

func TestManyMayPurgeAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(t, 20_000, "8 days")
	var group sync.WaitGroup
	for range 8 {
		x := b.inbox(t, inbox.Config{})
		group.Go(func() {
			if _, err := x.Purge(b.ctx); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.Zero(t, b.count(t, `SELECT count(*) FROM event_inbox`))
}

// While another process purges, there is nothing to do and nothing wrong.
func TestPurgeLeavesTheWorkToWhoHasBegun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(t, 10, "8 days")
	x := b.inbox(t, inbox.Config{})
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(b.ctx, `SELECT pg_advisory_xact_lock($1)`, inbox.PurgeKey(x))
	require.NoError(t, err)
	purged, err := x.Purge(b.ctx)
	require.NoError(t, err)
	require.Zero(t, purged)
	require.NoError(t, tx.Commit())
	purged, err = x.Purge(b.ctx)
	require.NoError(t, err)
	require.Equal(t, int64(10), purged)
}

func TestPurgeIsNotPartOfTheContextsTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(t, 10, "8 days")
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	purged, err := b.inbox(t, inbox.Config{}).Purge(b.bus.WithTx(b.ctx, tx))
	require.NoError(t, err)
	require.Equal(t, int64(10), purged)
	require.NoError(t, tx.Rollback())
	require.Zero(t, b.count(t, `SELECT count(*) FROM event_inbox`))
}

func TestRunPurgesUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var log buffer
	x := b.inbox(t, inbox.Config{PurgeInterval: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx, cancel := context.WithCancel(b.ctx)
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	for range 2 {
		b.fill(t, 10, "8 days")
		require.Eventually(t, func() bool { return b.count(t, `SELECT count(*) FROM event_inbox`) == 0 }, patience, tick)
	}
	b.exec(t, `DROP TABLE event_inbox`)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "level=WARN") }, patience, tick, "a failure is told")
	cancel()
	require.NoError(t, await(t, ended))
	require.Contains(t, log.String(), "rows=10")
	_, err := x.Purge(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
