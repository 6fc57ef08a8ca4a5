package forwarder_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder"
)

// TestEverythingAtOnce lets writers commit late and roll back, three forwarders lose the outbox to one
// another, batches fail before and after they are appended, topics come and go, and one event in three
// hundred be refused until it dies, and then counts every event.
func TestEverythingAtOnce(t *testing.T) { onBothTablesIfLong(t, everythingAtOnce) }

func everythingAtOnce(t *testing.T, b *testBundle) {
	events := 6000
	if os.Getenv("TAILRACE_LONG") != "" {
		events = 25_000
	}
	b.roomFor(2 * events)
	topics := []string{"users", "orders", "bills"}
	for _, topic := range topics {
		b.broker.CreateTopic(t, topic, 3, map[string]string{"max.message.bytes": "30000"})
	}
	b.broker.CreateTopic(t, "dead", 1, nil)
	b.broker.FailProduce(func(string, int32) bustest.Action {
		switch rand.IntN(40) {
		case 0:
			return bustest.RefuseBefore(sarama.ErrNotEnoughReplicas)
		case 1:
			return bustest.RefuseAfter(sarama.ErrRequestTimedOut)
		case 2:
			return bustest.DropBefore
		case 3:
			return bustest.DropAfter
		default:
			return bustest.Pass
		}
	})
	for _, name := range []string{"a", "b", "c"} {
		sender, err := kafka.NewSender(kafka.SenderConfig{
			Config:       kafka.Config{Brokers: b.broker.Brokers(), RequestTimeout: 2 * time.Second},
			RetryBackoff: time.Millisecond, RetryBackoffMax: 50 * time.Millisecond, BatchRecords: 50,
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, sender.Close()) })
		b.run(b.forwarder(func(c *forwarder.Config) {
			named(name)(c)
			c.Sender, c.BatchSize, c.RetryMin = sender, 300, 20*time.Millisecond
		}))
	}
	b.exec(`CREATE TABLE aggregate (topic text, id int, version int NOT NULL DEFAULT 0, PRIMARY KEY (topic, id))`)
	b.exec(`INSERT INTO aggregate (topic, id) SELECT topic, id FROM unnest($1::text[]) topic, generate_series(0, 29) id`, "{users,orders,bills}")

	stop := make(chan struct{})
	var trouble, writers sync.WaitGroup
	trouble.Go(func() {
		tick := time.NewTicker(150 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				for _, topic := range topics {
					b.broker.Allow(topic)
				}
				return
			case <-tick.C:
			}
			topic := topics[i%len(topics)]
			switch rand.IntN(4) {
			case 0:
				_, _ = b.db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
					AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
			case 1:
				b.broker.Deny(topic)
			default:
				b.broker.Allow(topic)
			}
		}
	})
	for range 6 {
		writers.Go(func() {
			for range events / 6 {
				chaosWrite(b, topics[rand.IntN(len(topics))])
			}
		})
	}
	writers.Wait()
	close(stop)
	trouble.Wait()
	eventually(t, "all is settled or dead", func() bool { return b.pending() == 0 })

	var committed, died int
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT count(*), count(*) FILTER (WHERE processed_at IS NULL) FROM event_outbox`).Scan(&committed, &died))
	distinct, duplicated := 0, 0
	for _, topic := range topics {
		last := map[string]int{}
		seen := map[string]bool{}
		for _, r := range b.broker.Records(t, topic) {
			id, _ := r.Header("_watermill_message_uuid")
			if seen[id] {
				duplicated++
				continue
			}
			seen[id] = true
			distinct++
			n, err := strconv.Atoi(string(r.Value))
			require.NoError(t, err)
			if prior, known := last[string(r.Key)]; known {
				require.Greater(t, n, prior, "first deliveries of %s/%s in order", topic, r.Key)
			}
			last[string(r.Key)] = n
		}
	}
	copies := map[string]bool{}
	for _, r := range b.broker.Records(t, "dead") {
		id, _ := r.Header("_watermill_message_uuid")
		copies[id] = true
	}
	t.Logf("%d committed: %d delivered, %d dead with %d copies, %d duplicates", committed, distinct, died, len(copies), duplicated)
	require.Equal(t, committed, distinct+died, "none lost")
	require.Len(t, copies, died, "each dead one has its copy")
	require.Positive(t, died)
}

// chaosWrite publishes the next version of a random aggregate, in a transaction that may be held open,
// rolled back, or carry an event that is too large to be delivered.
func chaosWrite(b *testBundle, topic string) {
	tx, err := b.db.Begin()
	if err != nil {
		b.t.Error(err)
		return
	}
	defer func() { _ = tx.Rollback() }()
	key := rand.IntN(30)
	var version int
	if err := tx.QueryRow(`UPDATE aggregate SET version = version + 1 WHERE topic = $1 AND id = $2 RETURNING version`, topic, key).Scan(&version); err != nil {
		b.t.Error(err)
		return
	}
	payload := []byte(strconv.Itoa(version))
	if rand.IntN(300) == 0 {
		payload = make([]byte, 60_000)
	}
	if _, err := tx.Exec(`INSERT INTO event_outbox (event_id, topic, payload, key) VALUES (gen_random_uuid()::text, $1, $2, $3)`,
		topic, payload, []byte("k"+strconv.Itoa(key))); err != nil {
		b.t.Error(err)
		return
	}
	switch rand.IntN(100) {
	case 0:
		return
	case 1, 2, 3:
		_, _ = tx.Exec(`SELECT pg_sleep($1)`, rand.Float64()*0.03)
	}
	if err := tx.Commit(); err != nil {
		b.t.Error(err)
	}
}
