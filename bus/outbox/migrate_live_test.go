package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// longestPause is what the default path may cost a publisher.
const longestPause = 200 * time.Millisecond

// TestMigrateBesideLivePublishers: eight writers publish with the guide's own INSERT into the guide's
// table, which holds pending, processed and failed rows, while it is migrated. No run may
// make a writer wait that long for a lock. A busy machine stops writers, too, so of the pauses as a whole
// the best run's counts: one that the migration makes is in all of them.
func TestMigrateBesideLivePublishers(t *testing.T) {
	for _, c := range []struct {
		name    string
		rows    int
		widened bool
	}{
		{"ids are widened on the way", 3_000, true},
		{"ids are left for the operator", 100_001, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var pause time.Duration
			var widened bool
			for range 10 {
				pause, widened = migrateBesideWriters(t, c.rows)
				if pause < longestPause && widened == c.widened {
					break
				}
			}
			require.Less(t, pause, longestPause)
			require.Equal(t, c.widened, widened)
		})
	}
}

func migrateBesideWriters(t *testing.T, rows int) (pause time.Duration, widened bool) {
	t.Helper()
	b := empty(t)
	b.exec(t, guideTable)
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload, key, processed_at, retry_count, error_message)
		SELECT 'old-' || i, 'topic.' || i % 7, convert_to(repeat('x', 300), 'UTF8'), CASE WHEN i % 3 > 0 THEN '\x6b' END::bytea,
			CASE WHEN i % 10 < 6 THEN now() END, i % 5, CASE WHEN i % 5 > 0 THEN 'refused' END FROM generate_series(1, $1) i`, rows)
	// A server that has run for a while has log segments to write to; a new one makes each when it is
	// needed, and all its writers pause meanwhile.
	_, _ = b.db.ExecContext(b.ctx, `CHECKPOINT`)
	const sum = `SELECT count(*) || ' ' || md5(string_agg(t::text, ',' ORDER BY id)) FROM (SELECT id, event_id, topic, payload, key, created_at,
		processed_at, error_message, retry_count, max_retries FROM event_outbox WHERE event_id LIKE 'old-%') t`
	before := scalar[string](t, b, sum)

	writers := startWriters(t, b.db, 8)
	writers.run(300 * time.Millisecond)
	quiet := writers.reset()
	locked := watchLocks(t, b.db)
	start := time.Now()
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	took := time.Since(start)
	require.NoError(t, err)
	pause = writers.reset()
	blocked := locked()
	writers.run(100 * time.Millisecond)
	published := writers.stop()
	t.Logf("%d rows, %d events published meanwhile; migration took %s; longest pause of a writer %s (%s before it), of it waiting for a lock at most %s",
		rows, published, took.Round(time.Millisecond), pause.Round(time.Millisecond), quiet.Round(time.Millisecond), blocked.Round(time.Millisecond))

	require.NoError(t, outbox.Check(b.ctx, b.db, ""))
	require.Equal(t, before, scalar[string](t, b, sum), "the old rows are as they were")
	require.Equal(t, published, scalar[int64](t, b, `SELECT count(*) FROM event_outbox WHERE event_id NOT LIKE 'old-%'`))
	widened = scalar[string](t, b, `SELECT data_type FROM information_schema.columns WHERE table_name = 'event_outbox' AND column_name = 'id'`) == "bigint"
	require.Equal(t, widened, scalar[string](t, b, `SELECT data_type FROM information_schema.sequences WHERE sequence_name = 'event_outbox_id_seq'`) == "bigint",
		"the sequence goes with the column")
	require.Equal(t, !widened, len(report.Postponed) == 2, "what is left is reported: %v", report.Postponed)
	return max(pause, blocked), widened
}

// watchLocks samples how long writers wait for a lock, until the function it returns is called.
func watchLocks(t *testing.T, db *sql.DB) (longest func() time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	found := make(chan time.Duration, 1)
	go func() {
		var most float64
		for ctx.Err() == nil {
			var now sql.NullFloat64
			err := db.QueryRowContext(context.WithoutCancel(ctx), `SELECT extract(epoch FROM max(clock_timestamp() - query_start))::float8 FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO event_outbox %'`).Scan(&now)
			if err != nil {
				break
			}
			most = max(most, now.Float64)
		}
		found <- time.Duration(most * float64(time.Second))
	}()
	return func() time.Duration { cancel(); return <-found }
}

// writers publish one event a transaction, each on its own connection, and remember the longest
// publish.
type writers struct {
	db        *sql.DB
	cancel    context.CancelFunc
	group     sync.WaitGroup
	longest   atomic.Int64
	published atomic.Int64
	failed    atomic.Value
	t         *testing.T
}

func startWriters(t *testing.T, db *sql.DB, n int) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{db: db, cancel: cancel, t: t}
	t.Cleanup(func() { cancel(); w.group.Wait() })
	for i := range n {
		w.group.Go(func() { w.write(ctx, i) })
	}
	return w
}

func (w *writers) write(ctx context.Context, i int) {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		w.failed.Store(err)
		return
	}
	defer func() { _ = conn.Close() }()
	for n := 0; ctx.Err() == nil; n++ {
		start := time.Now()
		_, err := conn.ExecContext(context.WithoutCancel(ctx), `INSERT INTO event_outbox (event_id, topic, payload, key) VALUES ($1, $2, $3, $4)`,
			uuid.NewString(), "live", []byte(`{"n":1}`), fmt.Append(nil, i))
		if err != nil {
			w.failed.Store(err)
			return
		}
		w.published.Add(1)
		took := int64(time.Since(start))
		for {
			longest := w.longest.Load()
			if took <= longest || w.longest.CompareAndSwap(longest, took) {
				break
			}
		}
	}
}

// run lets the writers publish for d.
func (w *writers) run(d time.Duration) {
	deadline := time.Now().Add(d)
	require.Eventually(w.t, func() bool { return time.Now().After(deadline) }, d+time.Second, d/10)
}

func (w *writers) reset() time.Duration { return time.Duration(w.longest.Swap(0)) }

func (w *writers) stop() int64 {
	w.cancel()
	w.group.Wait()
	if err, failed := w.failed.Load().(error); failed {
		require.NoError(w.t, err)
	}
	return w.published.Load()
}
