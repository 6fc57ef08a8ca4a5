package outbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// partitioned is a database with an outbox of partitions of 1,000 ids.
func partitioned(t *testing.T) bundle {
	t.Helper()
	b := empty(t)
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Partitioned: true, PartitionRows: 1000})
	require.NoError(t, err)
	require.True(t, report.Created)
	return b
}

func (b bundle) partitions(t *testing.T) *outbox.Partitions {
	t.Helper()
	store, err := outbox.NewStore(b.db, "")
	require.NoError(t, err)
	p, err := store.OpenPartitions(b.ctx)
	require.NoError(t, err)
	return p
}

func (b bundle) partitionNames(t *testing.T) string {
	t.Helper()
	return scalar[string](t, b, `SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::oid) FROM pg_inherits WHERE inhparent = 'event_outbox'::regclass`)
}

// fill writes rows, processed for an hour, with ids up to n.
func (b bundle) fill(t *testing.T, n int) {
	t.Helper()
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload, processed_at)
		SELECT 'e' || i, 't', '', now() - interval '1 hour' FROM generate_series(1, $1::int) i ORDER BY i`, n)
}

func TestPartitionedTableIsAnOutbox(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	require.NoError(t, outbox.Check(b.ctx, b.db, ""))
	w := b.writer(t)
	msgs := []*message.Message{newMessage("one"), newMessage("two")}
	require.NoError(t, w.Write(b.ctx, nil, same("t", 2), msgs))
	require.ErrorIs(t, w.Write(b.ctx, nil, same("t", 1), msgs[:1]), outbox.ErrDuplicate)
	n, err := w.Republish(b.ctx, nil, same("t", 2), msgs)
	require.NoError(t, err)
	require.Zero(t, n)

	again, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, []string{"made partitions: 1"}, again.Rewritten, "room for eight of them, whatever is written")
	status, err := outbox.Status(b.ctx, b.db, "")
	require.NoError(t, err)
	require.Equal(t, int64(2), status.Pending)
	require.Equal(t, 9, status.Partitions)
	require.Equal(t, 9000-status.LastID, status.Room)
	require.Empty(t, status.Missing)
	require.Empty(t, status.Warnings)

	// Each partition is a queue's table, too.
	require.Equal(t, 9, scalar[int](t, b, `SELECT count(*) FROM pg_class WHERE relname LIKE 'event\_outbox\_p%' AND relkind = 'r'
		AND 'fillfactor=50' = ANY(reloptions) AND (SELECT count(*) FROM pg_index WHERE indrelid = pg_class.oid AND indisvalid) = 3
		AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND contype = 'c')`))
}

func TestPlainTableCannotBecomePartitioned(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Partitioned: true})
	require.ErrorIs(t, err, outbox.ErrShape)
	require.ErrorContains(t, err, "under another name")
	require.Nil(t, b.partitions(t))

	other := empty(t)
	other.exec(t, `CREATE TABLE event_outbox (id BIGSERIAL, event_id VARCHAR(255) NOT NULL, topic VARCHAR(255) NOT NULL, payload BYTEA NOT NULL, key BYTEA,
		created_at TIMESTAMPTZ NOT NULL DEFAULT now(), processed_at TIMESTAMPTZ, error_message TEXT, retry_count INTEGER NOT NULL DEFAULT 0,
		max_retries INTEGER NOT NULL DEFAULT 3) PARTITION BY RANGE (created_at)`)
	_, err = outbox.Migrate(other.ctx, other.db, outbox.MigrateConfig{})
	require.ErrorIs(t, err, outbox.ErrShape)
	require.ErrorContains(t, err, "RANGE (created_at)")

	_, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{PartitionRows: 10})
	require.ErrorContains(t, err, "at least 1000")
	_, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Partitioned: true, Table: strings.Repeat("x", 44)})
	require.ErrorContains(t, err, "at most 42")
}

func TestNoPartitionIsAnErrorWithItsCure(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.exec(t, `SELECT setval('event_outbox_id_seq', 7999)`)
	w := b.writer(t)
	require.NoError(t, w.Write(b.ctx, nil, same("t", 1), []*message.Message{newMessage("last")}))
	status, err := outbox.Status(b.ctx, b.db, "")
	require.NoError(t, err)
	require.Zero(t, status.Room)
	require.Contains(t, strings.Join(status.Warnings, " "), "tailrace migrate")
	err = w.Write(b.ctx, nil, same("t", 1), []*message.Message{newMessage("one more")})
	require.ErrorIs(t, err, outbox.ErrNoPartition)
	require.ErrorContains(t, err, "tailrace migrate")

	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{PartitionRows: 5000})
	require.NoError(t, err)
	require.Equal(t, []string{"made partitions: 9"}, report.Rewritten, "the id that failed is gone")
	require.NoError(t, w.Write(b.ctx, nil, same("t", 1), []*message.Message{newMessage("one more")}))
	require.True(t, strings.HasSuffix(b.partitionNames(t), "event_outbox_p43001 event_outbox_p48001"), b.partitionNames(t))
}

// TestPartitionsFollowTheSequence: an operator sets it ahead of all partitions, and back to where they were
// dropped.
func TestPartitionsFollowTheSequence(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.fill(t, 4500)
	p := b.partitions(t)
	dropped, _, err := p.Drop(b.ctx, 4500, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 4, dropped)
	w := b.writer(t)
	for _, tt := range []struct {
		shows, sequence string
		made            int
		room, id        int64
	}{
		{"far ahead, no partition is made between", `ALTER SEQUENCE event_outbox_id_seq RESTART WITH 2000000500`, 9, 8501, 2_000_000_500},
		{"into the hole between", `SELECT setval('event_outbox_id_seq', 500000999)`, 9, 8001, 500_001_000},
		{"into what was dropped", `SELECT setval('event_outbox_id_seq', 1500)`, 5, 8500, 1501},
		{"to the very start, before which nothing is", `SELECT setval('event_outbox_id_seq', 1, false)`, 1, 10_000, 1},
	} {
		b.exec(t, tt.sequence)
		if tt.made > 1 {
			require.ErrorIs(t, w.Publish("t", newMessage(tt.shows)), outbox.ErrNoPartition, tt.shows)
			b.exec(t, tt.sequence)
		}
		status, err := outbox.Status(b.ctx, b.db, "")
		require.NoError(t, err)
		require.Zero(t, status.Room, tt.shows)
		require.Contains(t, strings.Join(status.Warnings, " "), "tailrace migrate", tt.shows)
		made, room, err := p.Extend(b.ctx)
		require.NoError(t, err, tt.shows)
		require.Equal(t, tt.made, made, tt.shows)
		require.Equal(t, tt.room, room, tt.shows)
		require.NoError(t, w.Publish("t", newMessage(tt.shows)), tt.shows)
		require.Equal(t, tt.id, scalar[int64](t, b, `SELECT id FROM event_outbox WHERE payload = $1`, []byte(tt.shows)))
	}
	// A hole is filled to the next partition, not beyond.
	b.exec(t, `ALTER TABLE event_outbox DETACH PARTITION event_outbox_p3001`)
	b.exec(t, `DROP TABLE event_outbox_p3001`)
	_, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{PartitionRows: 4000})
	require.NoError(t, err)
	require.Equal(t, int64(3), scalar[int64](t, b, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'event_outbox'::regclass
		AND (inhrelid::regclass::text, pg_get_expr((SELECT relpartbound FROM pg_class WHERE oid = inhrelid), inhrelid)) IN (
			('event_outbox_p3001', 'FOR VALUES FROM (''3001'') TO (''4001'')'), ('event_outbox_p10001', 'FOR VALUES FROM (''10001'') TO (''14001'')'),
			('event_outbox_p30001', 'FOR VALUES FROM (''30001'') TO (''34001'')'))`), b.partitionNames(t))
}

func TestPrintedPartitionsAreWhatMigrateMakes(t *testing.T) {
	t.Parallel()
	b := empty(t)
	var script bytes.Buffer
	require.NoError(t, outbox.PrintPartitionedMigrations(&script, "", 1000))
	psql, err := exec.LookPath("psql")
	if err == nil {
		cmd := exec.CommandContext(b.ctx, psql, "-q", "-v", "ON_ERROR_STOP=1", "-d", b.dsn)
		cmd.Stdin = &script
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	} else {
		for statement := range strings.SplitSeq(script.String(), "\n\n") {
			b.exec(t, statement)
		}
	}
	require.NoError(t, outbox.Check(b.ctx, b.db, ""))
	made := partitioned(t)
	require.Equal(t, made.partitionNames(t), b.partitionNames(t))
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Equal(t, report.From, report.To)
}

func TestDropLeavesWhatMayBeNeeded(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.fill(t, 4500)
	b.exec(t, `UPDATE event_outbox SET processed_at = NULL, retry_count = 3 WHERE id = 1500`) // dead
	b.exec(t, `UPDATE event_outbox SET processed_at = now() WHERE id = 3500`)                 // young
	p := b.partitions(t)
	dropped, held, err := p.Drop(b.ctx, 4500, 2*time.Hour)
	require.NoError(t, err)
	require.Zero(t, dropped, "all are too young")
	require.Empty(t, held)
	dropped, _, err = p.Drop(b.ctx, 999, time.Minute)
	require.NoError(t, err)
	require.Zero(t, dropped, "the owner is not through with any")
	dropped, held, err = p.Drop(b.ctx, 4500, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 2, dropped)
	require.Equal(t, []outbox.Range{{Low: 1001, High: 2000}}, held)
	require.True(t, strings.HasPrefix(b.partitionNames(t), "event_outbox_p1001 event_outbox_p3001 event_outbox_p4001"), b.partitionNames(t))
	require.Equal(t, int64(2500), scalar[int64](t, b, `SELECT count(*) FROM event_outbox`))

	b.exec(t, `UPDATE event_outbox SET processed_at = now() - interval '1 hour' WHERE id IN (1500, 3500)`)
	dropped, held, err = b.partitions(t).Drop(b.ctx, 4500, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 2, dropped, "the one that is written to stays")
	require.Empty(t, held)
}

// TestDropFinishesWhatACrashInterrupted, and loses no row that was made pending meanwhile.
func TestDropFinishesWhatACrashInterrupted(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.fill(t, 4500)
	b.exec(t, `CREATE TABLE event_outbox_p77 (id int)`) // somebody's own
	b.exec(t, `COMMENT ON TABLE event_outbox_p77 IS 'ids 77 to 78 of my own'`)

	// Killed behind DETACH: two are detached, and a row in one of them waits again.
	b.exec(t, `ALTER TABLE event_outbox DETACH PARTITION event_outbox_p1`)
	b.exec(t, `ALTER TABLE event_outbox DETACH PARTITION event_outbox_p1001`)
	b.exec(t, `UPDATE event_outbox_p1001 SET processed_at = NULL WHERE id = 1500`)
	// Cut off within DETACH CONCURRENTLY, by a transaction that has seen the partition.
	reader, err := b.db.BeginTx(b.ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	_, err = reader.Exec(`SELECT count(*) FROM event_outbox`)
	require.NoError(t, err)
	conn, err := b.db.Conn(b.ctx)
	require.NoError(t, err)
	_, err = conn.ExecContext(b.ctx, `SET lock_timeout = '50ms'`)
	require.NoError(t, err)
	_, err = conn.ExecContext(b.ctx, `ALTER TABLE event_outbox DETACH PARTITION event_outbox_p2001 CONCURRENTLY`)
	require.ErrorContains(t, err, "lock timeout")
	_, err = conn.ExecContext(b.ctx, `RESET lock_timeout`)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.True(t, scalar[bool](t, b, `SELECT bool_or(inhdetachpending) FROM pg_inherits`))
	require.NoError(t, reader.Rollback())

	dropped, held, err := b.partitions(t).Drop(b.ctx, 4500, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 3, dropped, "the detached, the half detached, and the next")
	require.Equal(t, []outbox.Range{{Low: 1001, High: 2000}}, held)
	require.True(t, strings.HasPrefix(b.partitionNames(t), "event_outbox_p1001 event_outbox_p4001"), b.partitionNames(t))
	require.Equal(t, int64(1500), scalar[int64](t, b, `SELECT id FROM event_outbox WHERE processed_at IS NULL`), "it can be found again")
	require.Equal(t, int64(0), scalar[int64](t, b, `SELECT count(*) FROM event_outbox_p77`), "not ours")
}

// TestPartitionsAreMadeByMany at once, as forwarders and `tailrace migrate` may.
func TestPartitionsAreMadeByMany(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.exec(t, `SELECT setval('event_outbox_id_seq', 8500)`)
	var all sync.WaitGroup
	for range 6 {
		p := b.partitions(t)
		all.Go(func() {
			if _, room, err := p.Extend(b.ctx); err != nil || room < 8000 {
				t.Errorf("room for %d: %v", room, err)
			}
		})
	}
	all.Wait()
	require.Equal(t, int64(17), scalar[int64](t, b, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'event_outbox'::regclass`))
}

// TestReadsFindTheirPartition: no statement of the owner's reads a partition whose ids it does not want.
func TestReadsFindTheirPartition(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.fill(t, 5500)
	b.exec(t, `ANALYZE event_outbox`)
	plan := func(query string, args ...any) string {
		rows, err := b.db.QueryContext(b.ctx, `EXPLAIN (ANALYZE, COSTS off, TIMING off) `+query, args...)
		require.NoError(t, err)
		defer func() { require.NoError(t, rows.Close()) }()
		var plan strings.Builder
		for rows.Next() {
			var line string
			require.NoError(t, rows.Scan(&line))
			if !strings.Contains(line, "never executed") {
				fmt.Fprintln(&plan, line)
			}
		}
		require.NoError(t, rows.Err())
		return plan.String()
	}
	read := plan(`SELECT id FROM event_outbox WHERE id > $1 ORDER BY id LIMIT 100`, 3500)
	require.Contains(t, read, "event_outbox_p3001")
	require.NotContains(t, read, "event_outbox_p4001", "the limit is reached before")
	require.NotContains(t, read, "event_outbox_p1 ")
	require.NotContains(t, read, "Sort")
	settled := plan(`UPDATE event_outbox SET processed_at = now() WHERE id = ANY($1) AND processed_at IS NOT NULL`, "{3500,3501}")
	require.Contains(t, settled, "event_outbox_p3001")
	require.NotContains(t, settled, "event_outbox_p2001")
}

// TestPartitionsBesideLivePublishers: eight writers, partitions made and dropped under them. As with a
// migration, the best run's pause counts.
func TestPartitionsBesideLivePublishers(t *testing.T) {
	pause := time.Hour
	for try := 0; try < 10 && pause >= longestPause; try++ {
		pause = partitionsBesideWriters(t)
	}
	require.Less(t, pause, longestPause)
}

func partitionsBesideWriters(t *testing.T) time.Duration {
	t.Helper()
	b := partitioned(t)
	_, _ = b.db.ExecContext(b.ctx, `CHECKPOINT`)
	writers := startWriters(t, b.db, 8)
	locked := watchLocks(t, b.db)
	// A reader that has seen the partitions makes DETACH wait, which must make no writer wait.
	reader, err := b.db.BeginTx(b.ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	ended := make(chan error, 1)
	_, err = reader.Exec(`SELECT count(*) FROM event_outbox`)
	require.NoError(t, err)
	time.AfterFunc(400*time.Millisecond, func() { ended <- reader.Rollback() })
	p := b.partitions(t)
	dropped, made := 0, 0
	begun := time.Now()
	require.Eventually(t, func() bool {
		n, _, err := p.Extend(b.ctx)
		made += n
		if err != nil {
			t.Error(err)
			return true
		}
		_, err = b.db.ExecContext(b.ctx, `UPDATE event_outbox SET processed_at = now() - interval '1 hour' WHERE processed_at IS NULL`)
		if err != nil {
			t.Error(err)
			return true
		}
		last := scalar[int64](t, b, `SELECT last_value FROM event_outbox_id_seq`)
		gone, _, err := p.Drop(b.ctx, last-100, time.Minute)
		if err != nil {
			t.Error(err)
			return true
		}
		dropped += gone
		return dropped >= 4
	}, 50*time.Second, 10*time.Millisecond)
	pause := writers.reset()
	blocked := locked()
	published := writers.stop()
	require.NoError(t, <-ended)
	t.Logf("%d events in %s, %d partitions made and %d dropped; longest pause of a writer %s, of it waiting for a lock at most %s",
		published, time.Since(begun).Round(time.Millisecond), made, dropped, pause.Round(time.Millisecond), blocked.Round(time.Millisecond))
	require.GreaterOrEqual(t, dropped, 4)
	return max(pause, blocked)
}

// TestDropEndsWithItsContext, also while it waits for a transaction.
func TestDropEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.fill(t, 2500)
	reader, err := b.db.BeginTx(b.ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	_, err = reader.Exec(`SELECT count(*) FROM event_outbox`)
	require.NoError(t, err)
	p := b.partitions(t)
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, _, err := p.Drop(ctx, 2500, time.Minute)
		done <- err
	}()
	require.Eventually(t, func() bool {
		return scalar[int](t, b, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%DETACH%'`) == 1
	}, 30*time.Second, time.Millisecond)
	cancel()
	require.Error(t, <-done)
	require.NoError(t, reader.Rollback())
	dropped, _, err := p.Drop(b.ctx, 2500, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 2, dropped)
}
