package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// split is a database with an outbox of so many shards.
func split(t testing.TB, shards int) bundle {
	t.Helper()
	b := setup(t)
	b.raise(t, shards)
	return b
}

func (b bundle) raise(t testing.TB, shards int) outbox.Report {
	t.Helper()
	report, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Shards: shards})
	require.NoError(t, err)
	return report
}

func (b bundle) sharded(t testing.TB, shards int) *outbox.Writer {
	t.Helper()
	w, err := outbox.NewWriter(outbox.WriterConfig{DB: b.db, Shards: shards})
	require.NoError(t, err)
	return w
}

func shardTable(n int) string {
	if n == 0 {
		return "event_outbox"
	}
	return fmt.Sprintf("event_outbox_shard_%d", n)
}

// keyIn returns a key that is in one shard of so many, and in another of so many more.
func keyIn(t testing.TB, is, of, becomes, ofMore int) string {
	t.Helper()
	for i := range 100_000 {
		key := fmt.Sprintf("key-%d", i)
		if outbox.ShardOf([]byte(key), of) == is && outbox.ShardOf([]byte(key), ofMore) == becomes {
			return key
		}
	}
	t.Fatal("no such key")
	return ""
}

func ofKey(payload, key string) *message.Message {
	return newMessage(payload, delivery.KeyMetadata, key)
}

// whole returns the rows of a shard, in order.
func (b bundle) whole(t testing.TB, shard int) []string {
	t.Helper()
	return lines(t, b.db, `SELECT id, encode(payload, 'escape') AS payload FROM `+shardTable(shard)+` ORDER BY id`)
}

func TestATableThatIsNotSplitIsItsOnlyShard(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shards, err := outbox.Shards(b.ctx, b.db, "")
	require.NoError(t, err)
	require.Equal(t, []outbox.Shard{{Table: "event_outbox"}}, shards)
	require.True(t, shards[0].Open())
	require.Empty(t, lines(t, b.db, `SELECT relname FROM pg_class WHERE relname LIKE '%shard%'`), "nothing is made that was not asked for")
}

func TestSplitting(t *testing.T) {
	t.Parallel()
	b := empty(t)
	report := b.raise(t, 3)
	require.True(t, report.Created)
	require.Len(t, report.Shards, 2)
	require.Equal(t, `"public"."event_outbox_shard_2"`, report.Shards[1].Table)
	require.True(t, report.Shards[1].Created)
	shards, err := outbox.Shards(b.ctx, b.db, "event_outbox")
	require.NoError(t, err)
	require.Len(t, shards, 3)
	for n, shard := range shards {
		require.Equal(t, n, shard.Number)
		require.Equal(t, shardTable(n), shard.Table)
		require.Equal(t, n == 0, shard.Open())
		require.NoError(t, outbox.Check(b.ctx, b.db, shard.Table))
	}
	report = b.raise(t, 3)
	require.False(t, report.Shards[0].Created)
	b.raise(t, 5)
	again, err := outbox.Shards(b.ctx, b.db, "public.event_outbox")
	require.NoError(t, err)
	require.Len(t, again, 5)
	require.Equal(t, "public.event_outbox_shard_4", again[4].Table)
	require.Equal(t, shards[2].Added, again[2].Added)

	_, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Shards: 4})
	require.ErrorContains(t, err, "has 5 shards, and 4 were asked for")
	report, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.Len(t, report.Shards, 4, "all are kept up to date without being named")
}

func TestSplittingRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	b := split(t, 2)
	for _, tt := range []struct {
		config outbox.MigrateConfig
		says   string
	}{
		{outbox.MigrateConfig{Shards: -1}, "-1 shards"},
		{outbox.MigrateConfig{Shards: outbox.MaxShards + 1}, "1 to 64"},
		{outbox.MigrateConfig{Shards: 2, Table: strings.Repeat("x", 40)}, "40 bytes"},
		{outbox.MigrateConfig{Shards: 2, Table: "event_outbox_shard_1"}, "is shard 1 of"},
	} {
		_, err := outbox.Migrate(b.ctx, b.db, tt.config)
		require.ErrorContains(t, err, tt.says)
	}
	_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Table: "event_outbox_shard_2"})
	require.NoError(t, err, "a table may be named as it likes")
	b.exec(t, `INSERT INTO event_outbox_shard_2 (event_id, topic, payload) VALUES ('1', 't', '')`)
	_, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Shards: 3})
	require.ErrorIs(t, err, outbox.ErrShape)
	require.ErrorContains(t, err, "rename it")
	b.exec(t, `DELETE FROM event_outbox_shard_2`)
	b.raise(t, 3)

	long, err := outbox.NewWriter(outbox.WriterConfig{Table: strings.Repeat("x", 40)})
	require.NoError(t, err)
	require.NotNil(t, long)
	_, err = outbox.NewWriter(outbox.WriterConfig{Table: strings.Repeat("x", 40), Shards: 65})
	require.ErrorContains(t, err, "40 bytes")
	require.ErrorContains(t, err, "65 shards")
}

func TestTenProcessesRaiseAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var processes sync.WaitGroup
	for i := range 10 {
		processes.Go(func() {
			_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Shards: 2 + i%3, LockTimeout: time.Second})
			if err != nil && !strings.Contains(err.Error(), "were asked for") {
				t.Errorf("%v", err)
			}
		})
	}
	processes.Wait()
	shards, err := outbox.Shards(b.ctx, b.db, "")
	require.NoError(t, err)
	require.Len(t, shards, 4)
	require.Equal(t, int64(4), scalar[int64](t, b, `SELECT last_value FROM event_outbox_shard_count`))
}

// TestARaiseThatWasCutOff at any of its steps is finished by the next.
func TestARaiseThatWasCutOff(t *testing.T) {
	t.Parallel()
	b := split(t, 2)
	w := b.sharded(t, 1)
	key := keyIn(t, 0, 2, 2, 3)
	// After the tables, before the registry.
	_, err := outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{Table: "event_outbox_shard_2"})
	require.NoError(t, err)
	require.NoError(t, w.Publish("t", ofKey("1", key)))
	// After the registry, before the number: the writers do not use it, and its owner does not open it.
	b.exec(t, `INSERT INTO event_outbox_shards (shard) VALUES (2)`)
	require.NoError(t, w.Publish("t", ofKey("2", key)))
	require.Len(t, b.whole(t, 0), 2)
	b.exec(t, `UPDATE event_outbox SET processed_at = now()`)
	claim := b.claim(t, 2)
	for range 3 {
		open, waits, err := claim.Open(b.ctx)
		require.NoError(t, err)
		require.False(t, open)
		require.Contains(t, waits, "migrate --shards 3")
	}
	_, err = outbox.Migrate(b.ctx, b.db, outbox.MigrateConfig{}) // also without the number
	require.NoError(t, err)
	require.NoError(t, w.Publish("t", ofKey("3", key)))
	require.Equal(t, []string{"id=1 payload=3 "}, b.whole(t, 2))
	open, _, err := claim.Open(b.ctx)
	require.NoError(t, err)
	require.True(t, open)
}

func (b bundle) claim(t testing.TB, shard int) *outbox.Claim {
	t.Helper()
	store, err := outbox.NewStore(b.db, shardTable(shard))
	require.NoError(t, err)
	var claim *outbox.Claim
	require.Eventually(t, func() bool { // The server may need a moment to free the lock of a session that it ended.
		claim, err = store.Claim(b.ctx, "test", time.Minute)
		return !errors.Is(err, outbox.ErrOwned)
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, err)
	t.Cleanup(func() { _ = claim.Release(context.WithoutCancel(b.ctx)) })
	return claim
}

// TestThePrivilegesOfTheFirstAreThoseOfTheOthers: or publishers would fail as soon as there are two.
func TestThePrivilegesOfTheFirstAreThoseOfTheOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	name := scalar[string](t, b, `SELECT current_database()`)
	owns, publishes, forwards := name+"_owns", name+"_publishes", name+`_for"wards`
	quoted := func(role string) string { return `"` + strings.ReplaceAll(role, `"`, `""`) + `"` }
	for _, role := range []string{owns, publishes, forwards} {
		b.exec(t, `CREATE ROLE `+quoted(role))
		t.Cleanup(func() {
			b.exec(t, `DROP OWNED BY `+quoted(role)+` CASCADE`)
			b.exec(t, `DROP ROLE `+quoted(role))
		})
	}
	b.exec(t, `ALTER TABLE event_outbox OWNER TO `+quoted(owns))
	b.exec(t, `ALTER TABLE event_outbox_forwarder OWNER TO `+quoted(owns))
	b.exec(t, `GRANT INSERT ON event_outbox TO `+quoted(publishes))
	b.exec(t, `GRANT USAGE ON event_outbox_id_seq TO `+quoted(publishes))
	b.exec(t, `GRANT SELECT, UPDATE, DELETE ON event_outbox TO `+quoted(forwards))
	b.exec(t, `GRANT SELECT ON event_outbox_id_seq TO `+quoted(forwards))
	b.exec(t, `GRANT SELECT, INSERT, UPDATE ON event_outbox_forwarder TO `+quoted(forwards))
	b.raise(t, 3)
	require.Equal(t, int64(1), scalar[int64](t, b, `SELECT count(DISTINCT relowner) FROM pg_class WHERE relname LIKE 'event_outbox%' AND relkind IN ('r', 'S') AND relname NOT LIKE '%migrations%'`))

	as := func(role string, do func(*sql.Tx)) {
		tx, err := b.db.BeginTx(b.ctx, nil)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		_, err = tx.ExecContext(b.ctx, `SET LOCAL ROLE `+quoted(role))
		require.NoError(t, err)
		do(tx)
	}
	for i, w := range []*outbox.Writer{b.sharded(t, 1), b.sharded(t, 1)} {
		msgs := []*message.Message{ofKey("a", keyIn(t, 0, 3, 0, 4)), ofKey("b", keyIn(t, 1, 3, 1, 4)), ofKey("c", keyIn(t, 2, 3, 2, 4))}
		as(publishes, func(tx *sql.Tx) { require.NoError(t, w.Write(b.ctx, tx, same("t", 3-2*i), msgs[:3-2*i])) })
	}
	as(forwards, func(tx *sql.Tx) {
		for _, statement := range []string{
			`SELECT last_value FROM event_outbox_shard_2_id_seq`, `UPDATE event_outbox_shard_2 SET processed_at = now()`,
			`UPDATE event_outbox_shard_2_forwarder SET low_water = 1`, `UPDATE event_outbox_shards SET opened_at = now() WHERE shard = 2`,
			`SELECT last_value FROM event_outbox_shard_count`,
		} {
			_, err := tx.ExecContext(b.ctx, statement)
			require.NoError(t, err, statement)
		}
	})
}

// TestShardsOfAPartitionedTableHavePartitions, which belong to the same owner.
func TestShardsOfAPartitionedTableHavePartitions(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	owns := scalar[string](t, b, `SELECT current_database()`) + "_owns"
	b.exec(t, `CREATE ROLE `+owns)
	t.Cleanup(func() {
		b.exec(t, `DROP OWNED BY `+owns+` CASCADE`)
		b.exec(t, `DROP ROLE `+owns)
	})
	b.exec(t, `ALTER TABLE event_outbox OWNER TO `+owns)
	b.raise(t, 2)
	require.Equal(t, "p", scalar[string](t, b, `SELECT relkind::text FROM pg_class WHERE relname = 'event_outbox_shard_1'`))
	require.Positive(t, scalar[int64](t, b, `SELECT count(*) FROM pg_partition_tree('event_outbox_shard_1') WHERE level > 0`))
	require.Zero(t, scalar[int64](t, b, `SELECT count(*) FROM pg_partition_tree('event_outbox_shard_1') p JOIN pg_class c ON c.oid = p.relid
		WHERE pg_get_userbyid(c.relowner) <> $1`, owns))
	w, key := b.sharded(t, 2), keyIn(t, 1, 2, 1, 3)
	one := ofKey("1", key)
	require.NoError(t, w.Publish("t", one))
	require.ErrorIs(t, w.Publish("t", one), outbox.ErrDuplicate)
	opens(t, b, b.claim(t, 1))
	b.raise(t, 3)
	require.Len(t, b.whole(t, 1), 1)
}

func TestPrintShards(t *testing.T) {
	t.Parallel()
	b := empty(t)
	var text strings.Builder
	require.NoError(t, outbox.PrintMigrations(&text, ""))
	require.NoError(t, outbox.PrintShards(&text, outbox.MigrateConfig{Shards: 3}))
	for range 2 { // and again
		for statement := range strings.SplitSeq(text.String(), "\n\n") {
			b.exec(t, statement)
		}
	}
	shards, err := outbox.Shards(b.ctx, b.db, "")
	require.NoError(t, err)
	require.Len(t, shards, 3)
	require.NoError(t, b.sharded(t, 3).Publish("t", ofKey("1", keyIn(t, 2, 3, 2, 4))))
	require.Len(t, b.whole(t, 2), 1)
	report := b.raise(t, 3)
	require.Equal(t, report.To, report.From, "nothing is left to do")
	require.Equal(t, report.Shards[1].To, report.Shards[1].From)
	require.ErrorContains(t, outbox.PrintShards(&text, outbox.MigrateConfig{Shards: 65}), "65 shards")
	longest := outbox.MigrateConfig{Table: strings.Repeat("x", 33), Shards: outbox.MaxShards, Partitioned: true}
	require.NoError(t, outbox.PrintShards(io.Discard, longest))
}

// TestWhoReadsOneTableRefusesShards, of whichever of them.
func TestWhoReadsOneTableRefusesShards(t *testing.T) {
	t.Parallel()
	b := split(t, 1)
	subscribe := func(table string) error {
		subscriber, err := outbox.NewSubscriber(outbox.SubscriberConfig{DB: b.db, Table: table}, nil)
		require.NoError(t, err)
		_, err = subscriber.Subscribe(b.ctx, "t")
		require.NoError(t, subscriber.Close())
		return err
	}
	require.NoError(t, subscribe(""))
	b.raise(t, 2)
	require.ErrorIs(t, subscribe(""), outbox.ErrSharded)
	require.ErrorIs(t, subscribe("public.event_outbox_shard_1"), outbox.ErrSharded)
}

func TestDeadRowsOfShardsAreRevived(t *testing.T) {
	t.Parallel()
	b := split(t, 3)
	for n := range 3 {
		b.exec(t, `INSERT INTO `+shardTable(n)+` (event_id, topic, payload, retry_count) VALUES ($1, 't', '', 3)`, fmt.Sprint("in ", n))
	}
	reviver, err := outbox.NewReviver(b.db, "")
	require.NoError(t, err)
	for _, tt := range []struct {
		row     int64
		eventID string
		want    deadletter.RowState
	}{{1, "in 0", deadletter.RowRevived}, {1, "in 2", deadletter.RowRevived}, {1, "in 2", deadletter.RowAlive}, {2, "in 2", deadletter.RowMissing}, {1, "in 3", deadletter.RowMissing}} {
		got, err := reviver.Revive(b.ctx, tt.row, tt.eventID)
		require.NoError(t, err)
		require.Equal(t, tt.want, got, "%+v", tt)
	}
	require.Equal(t, int64(1), scalar[int64](t, b, `SELECT count(*) FROM event_outbox_shard_1 WHERE retry_count = 3`))
}
