package forwarder_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

// partitioned is an outbox of partitions of 1,000 ids whose forwarder keeps them for a moment only.
func partitioned(t *testing.T) *testBundle {
	t.Helper()
	return setupTable(t, outbox.MigrateConfig{Partitioned: true, PartitionRows: outbox.MinPartitionRows})
}

func briefly(c *forwarder.Config) {
	c.Retention, c.PurgeInterval = time.Millisecond, 50*time.Millisecond
}

func (b *testBundle) partitions() (names []string) {
	b.t.Helper()
	rows, err := b.db.QueryContext(b.t.Context(), `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'event_outbox'::regclass ORDER BY inhrelid::oid`)
	require.NoError(b.t, err)
	defer func() { require.NoError(b.t, rows.Close()) }()
	for rows.Next() {
		var name string
		require.NoError(b.t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(b.t, rows.Err())
	return names
}

// TestPartitionsUnderLoad: eight writers, some of whose transactions commit late or roll back, an owner that
// loses the outbox again and again, and partitions that are made and dropped all the while.
func TestPartitionsUnderLoad(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		perWriter int
		run       func(b *testBundle, owner string)
	}{
		"forwarder": {1500, func(b *testBundle, owner string) {
			b.run(b.forwarder(func(c *forwarder.Config) { named(owner)(c); briefly(c); c.Lease = time.Second }))
		}},
		"Watermill's engine": {500, func(b *testBundle, owner string) {
			b.runEngine(b.engine(func(c *forwarder.WatermillConfig) {
				c.Owner, c.Lease, c.StandbyPoll = owner, time.Second, 50*time.Millisecond
				c.Retention, c.PurgeInterval = time.Millisecond, 50*time.Millisecond
			}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			partitionsUnderLoad(t, tt.perWriter, tt.run)
		})
	}
}

func partitionsUnderLoad(t *testing.T, perWriter int, run func(b *testBundle, owner string)) {
	t.Helper()
	const writers, keys = 8, 40
	b := partitioned(t)
	b.broker.CreateTopic(t, "orders", 3, nil)
	for _, owner := range []string{"a", "b"} {
		run(b, owner)
	}
	b.exec(`CREATE TABLE aggregate (id int PRIMARY KEY, version int NOT NULL DEFAULT 0)`)
	b.exec(`INSERT INTO aggregate SELECT generate_series(0, $1::int - 1)`, keys)
	for _, name := range []string{"a", "b"} {
		b.run(b.forwarder(func(c *forwarder.Config) { named(name)(c); briefly(c); c.Lease = time.Second }))
	}
	publish := func() error {
		tx, err := b.db.Begin()
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		key, version := rand.IntN(keys), 0
		if err := tx.QueryRow(`UPDATE aggregate SET version = version + 1 WHERE id = $1 RETURNING version - 1`, key).Scan(&version); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO event_outbox (event_id, topic, payload, key) VALUES ($1, 'orders', $2, $3)`,
			fmt.Sprintf("%d-%d", key, version), fmt.Append(nil, version), fmt.Append(nil, "k", key)); err != nil {
			return err
		}
		switch rand.IntN(50) {
		case 0:
			return nil // rolled back
		case 1:
			if _, err := tx.Exec(`SELECT pg_sleep(0.03)`); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
	var load sync.WaitGroup
	for range writers {
		load.Go(func() {
			for range perWriter {
				if err := publish(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	stop := make(chan struct{})
	var trouble sync.WaitGroup
	trouble.Go(func() {
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = b.db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
					AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
			}
		}
	})
	load.Wait()
	close(stop)
	trouble.Wait()
	eventually(t, "everything is settled", func() bool { return b.pending() == 0 })
	var sent int
	require.NoError(t, b.db.QueryRow(`SELECT sum(version) FROM aggregate`).Scan(&sent))
	var written int64
	require.NoError(t, b.db.QueryRow(`SELECT last_value FROM event_outbox_id_seq`).Scan(&written))
	eventually(t, "only the partition that is written to and the empty ones are left", func() bool {
		return b.partitions()[0] == fmt.Sprintf("event_outbox_p%d", (written-1)/outbox.MinPartitionRows*outbox.MinPartitionRows+1)
	})
	got := count(t, b.broker.Records(t, "orders"))
	t.Logf("%d events sent: %v; %d ids, so %d partitions, of which %d are left", sent, got, written, written/outbox.MinPartitionRows+1, len(b.partitions()))
	require.Equal(t, sent, got.distinct)
	require.Zero(t, got.reordered)
}

// TestPartitionWithADeadRowStays, without the rows around it, until an operator has seen to it.
func TestPartitionWithADeadRowStays(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.broker.CreateTopic(t, "orders", 1, nil)
	b.broker.CreateTopic(t, "small", 1, map[string]string{"max.message.bytes": "500"})
	b.broker.CreateTopic(t, "dead", 1, nil)
	b.insert("orders", 1500, 10)
	b.exec(`INSERT INTO event_outbox (event_id, topic, payload, key, max_retries) VALUES ('big', 'small', convert_to($1, 'UTF8'), 'k', 1)`, strings.Repeat("x", 2000))
	b.insertFrom("orders", 1500, 3000, 10)
	b.run(b.forwarder(briefly))
	eventually(t, "the partitions around it are dropped", func() bool {
		names := b.partitions()
		return len(names) > 0 && names[0] == "event_outbox_p1001" && len(names) <= 2+outbox.PartitionsAhead+1
	})
	left := func() (n int) {
		require.NoError(t, b.db.QueryRow(`SELECT count(*) FROM event_outbox_p1001`).Scan(&n))
		return n
	}
	eventually(t, "its own rows are deleted", func() bool { return left() == 1 })
	got := count(t, b.broker.Records(t, "orders"))
	require.Equal(t, 4500, got.distinct)
	require.Zero(t, got.duplicated+got.reordered)
	var reason string
	require.NoError(t, b.db.QueryRow(`SELECT error_message FROM event_outbox WHERE event_id = 'big'`).Scan(&reason))
	require.NotEmpty(t, reason)
}

// TestPartitionsOfWhatIsDeleted: with nothing kept, what is left of a partition is dropped.
func TestPartitionsOfWhatIsDeleted(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.broker.CreateTopic(t, "orders", 1, nil)
	b.insert("orders", 5500, 10)
	b.run(b.forwarder(func(c *forwarder.Config) { c.DeleteProcessed, c.PurgeInterval = true, 50*time.Millisecond }))
	eventually(t, "five are dropped", func() bool {
		names := b.partitions()
		return len(names) > 0 && names[0] == "event_outbox_p5001" && b.pending() == 0
	})
	require.Equal(t, tally{records: 5500, distinct: 5500}, count(t, b.broker.Records(t, "orders")))
}

// TestGapsInPartitions: ids that come late, in a partition that would be dropped otherwise.
func TestGapsInPartitions(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.broker.CreateTopic(t, "orders", 1, nil)
	late, err := b.db.BeginTx(t.Context(), &sql.TxOptions{})
	require.NoError(t, err)
	_, err = late.Exec(`INSERT INTO event_outbox (event_id, topic, payload, key) VALUES ('late', 'orders', '0', 'late')`)
	require.NoError(t, err)
	b.insert("orders", 3000, 10)
	stop := b.run(b.forwarder(briefly))
	eventually(t, "the others are forwarded", func() bool { return len(b.broker.Records(t, "orders")) == 3000 })
	var purges int
	eventually(t, "purges have looked", func() bool { purges++; return purges > 20 })
	require.Equal(t, "event_outbox_p1", b.partitions()[0])
	require.NoError(t, late.Commit())
	eventually(t, "the late one, too", func() bool { return len(b.broker.Records(t, "orders")) == 3001 })
	eventually(t, "and then its partition is dropped", func() bool { return b.partitions()[0] == "event_outbox_p3001" })
	stop()
	require.Equal(t, tally{records: 3001, distinct: 3001}, count(t, b.broker.Records(t, "orders")))
}

// TestSequenceThatJumpsBackToDroppedPartitions: what is written there has a partition again at the next purge,
// and is forwarded.
func TestSequenceThatJumpsBackToDroppedPartitions(t *testing.T) {
	t.Parallel()
	b := partitioned(t)
	b.broker.CreateTopic(t, "orders", 2, nil)
	b.run(b.forwarder(briefly))
	b.insert("orders", 3500, 10)
	eventually(t, "three are dropped", func() bool { return b.partitions()[0] == "event_outbox_p3001" })
	b.exec(`SELECT setval('event_outbox_id_seq', 500)`)
	eventually(t, "there is one again", func() bool { return slices.Contains(b.partitions(), "event_outbox_p1") })
	b.insertFrom("orders", 3500, 100, 10)
	records := b.broker.WaitRecords(t, "orders", 3600, patience)
	require.Equal(t, tally{records: 3600, distinct: 3600}, count(t, records))
	eventually(t, "settled", func() bool { return b.pending() == 0 })
}
