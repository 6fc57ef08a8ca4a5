package forwarder_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/forwarder"
)

// TestBulkWritersAmongOthers: two transactions that write thousands of rows each leave thousands of gaps in
// what the others write, some with writers that have no transaction id for long. The others' events flow
// meanwhile, and once a bulk has committed its rows go before what was written for their keys afterwards.
func TestBulkWritersAmongOthers(t *testing.T) {
	t.Parallel()
	rounds, bulk := 2, 2500
	if os.Getenv("TAILRACE_LONG") != "" {
		rounds, bulk = 4, 5000
	}
	b := setup(t)
	b.broker.CreateTopic(t, "orders", 3, nil)
	b.run(b.forwarder(func(c *forwarder.Config) { c.BatchSize, c.Lease = 500, 20*time.Second }))
	b.exec(`CREATE TABLE aggregate (id int PRIMARY KEY, version int NOT NULL DEFAULT 0)`)
	b.exec(`INSERT INTO aggregate (id) SELECT generate_series(0, 29)`)
	const publish = `WITH next AS (UPDATE aggregate SET version = version + 1 WHERE id = $1::int RETURNING id, version)
		INSERT INTO event_outbox (event_id, topic, payload, key)
		SELECT gen_random_uuid()::text, 'orders', version::text::bytea, ('k' || id)::bytea FROM next`

	var written atomic.Int64
	stop := make(chan struct{})
	var others, bulks sync.WaitGroup
	for writer := range 3 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				key := 10 + rand.IntN(20)
				if writer == 0 && rand.IntN(50) == 0 {
					key = rand.IntN(10) // waits for a bulk
				}
				if _, err := b.db.Exec(publish, key); err != nil {
					t.Error(err)
					return
				}
				written.Add(1)
			}
		})
	}
	idle, err := b.db.Begin() // holds the table's lock, and has no transaction id
	require.NoError(t, err)
	_, err = idle.Exec(`DELETE FROM event_outbox WHERE false`)
	require.NoError(t, err)
	settled := func() (n int) {
		if err := b.db.QueryRow(`SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	for half := range 2 {
		bulks.Go(func() {
			for round := range rounds {
				tx, err := b.db.Begin()
				if err != nil {
					t.Error(err)
					return
				}
				_, err = tx.Exec(`DO $$ BEGIN FOR i IN 1..` + strconv.Itoa(bulk) + ` LOOP
					WITH next AS (UPDATE aggregate SET version = version + 1 WHERE id = ` + strconv.Itoa(half*5) + ` + i % 5 RETURNING id, version)
					INSERT INTO event_outbox (event_id, topic, payload, key)
					SELECT gen_random_uuid()::text, 'orders', version::text::bytea, ('k' || id)::bytea FROM next;
					END LOOP; END $$`)
				if err != nil {
					t.Error(err)
				}
				// The others go on while it is open.
				before := settled()
				eventually(t, "events flow past an open bulk", func() bool { return settled() > before+50 })
				if round%2 == 0 {
					err = tx.Commit()
				} else {
					err = tx.Rollback()
				}
				if err != nil {
					t.Error(err)
				}
				if round == rounds/2 && half == 0 {
					_ = idle.Commit()
				}
			}
		})
	}
	bulks.Wait()
	close(stop)
	others.Wait()
	eventually(t, "all is settled", func() bool { return b.pending() == 0 })

	var committed int
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox`).Scan(&committed))
	records := b.broker.Records(t, "orders")
	last := map[string]int{}
	for _, r := range records {
		n, err := strconv.Atoi(string(r.Value))
		require.NoError(t, err)
		require.Equal(t, last[string(r.Key)]+1, n, "the versions of %s, one by one", r.Key)
		last[string(r.Key)] = n
	}
	t.Logf("%d committed, %d delivered, %d by the others", committed, len(records), written.Load())
	require.Len(t, records, committed, "each once")
}
