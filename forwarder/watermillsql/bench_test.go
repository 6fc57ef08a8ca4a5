package watermillsql_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

const (
	benchBacklog = 20_000
	benchKeys    = 1000
	benchBytes   = 315
)

// BenchmarkForward forwards a backlog of 20,000 messages of 315 bytes with 1,000 keys, acks=all, from
// Watermill's tables to a broker in a process of its own that answers at once or after 2 ms: by Watermill's
// forwarder and by ours, on the same rows. The former's rate is taken from its first messages, with the
// whole backlog behind them.
func BenchmarkForward(b *testing.B) {
	for _, latency := range []time.Duration{0, 2 * time.Millisecond} {
		b.Run(fmt.Sprintf("broker=%v", latency), func(b *testing.B) {
			broker := bustest.KafkaProcess(b, bustest.ProcessConfig{ProduceLatency: latency})
			broker.CreateTopic(b, orders, 6, nil)
			sample := benchBacklog / 2
			if latency > 0 {
				sample = 1000
			}
			var theirs, ours time.Duration
			rounds := 0
			var allocs uint64
			for b.Loop() {
				rounds++
				bundle := benchSetup(b, broker)
				start := time.Now()
				w := bundle.watermill(sample)
				w.waitPublished(sample)
				theirs += time.Since(start)
				w.stop()
				_, err := bundle.db.Exec(`DELETE FROM watermill_offsets_events_to_forward`)
				require.NoError(b, err)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				ours += benchOurs(b, bundle)
				runtime.ReadMemStats(&after)
				allocs += after.Mallocs - before.Mallocs
			}
			slow, fast := float64(rounds*sample)/theirs.Seconds(), float64(rounds*benchBacklog)/ours.Seconds()
			b.ReportMetric(slow, "watermill-events/s")
			b.ReportMetric(fast, "tailrace-events/s")
			b.ReportMetric(fast/slow, "ratio")
			b.ReportMetric(float64(allocs)/float64(rounds*benchBacklog), "allocs/event")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func benchSetup(b *testing.B, broker *bustest.Broker) *bundle {
	b.Helper()
	db, dsn := bustest.Postgres(b)
	bundle := &bundle{t: b, db: db, dsn: dsn, broker: broker, topic: outbox, next: map[string]int{}}
	require.NoError(b, bundle.initialize())
	for i := 0; i < benchBacklog; i += 500 {
		messages := make([]*message.Message, 500)
		for j := range messages {
			body := fmt.Sprintf(`{"metadata":{"event_id":"%036d"},"event_type":"user_created","payload":{"pad":"`, i+j)
			messages[j] = message.NewMessage(uuid.NewString(), []byte(body+strings.Repeat("x", benchBytes-len(body)-3)+`"}}`))
			messages[j].Metadata.Set(keyField, fmt.Sprintf("user-%d", (i+j)*7919%benchKeys))
			messages[j].Metadata.Set("correlation_id", uuid.NewString())
		}
		require.NoError(b, bundle.inTx(orders, messages...))
	}
	_, err := db.Exec(`VACUUM ANALYZE watermill_events_to_forward`)
	require.NoError(b, err)
	return bundle
}

// benchOurs takes the time until the position has passed the whole backlog.
func benchOurs(b *testing.B, bundle *bundle) time.Duration {
	b.Helper()
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: bundle.broker.Brokers()}, Partitioner: kafka.FNV1a})
	require.NoError(b, err)
	f, err := watermillsql.New(watermillsql.Config{DB: bundle.db, Topic: outbox, Sender: sender, KeyMetadata: keyField, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	var transaction, offset, at int64
	require.NoError(b, bundle.db.QueryRow(`SELECT transaction_id, "offset" FROM watermill_events_to_forward ORDER BY 1 DESC, 2 DESC LIMIT 1`).Scan(&transaction, &offset))
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- f.Run(ctx) }()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for at < offset {
		_ = bundle.db.QueryRow(`SELECT offset_acked FROM watermill_offsets_events_to_forward`).Scan(&at) // no row at first
		<-poll.C
	}
	took := time.Since(start)
	cancel()
	require.NoError(b, <-ended)
	require.NoError(b, sender.Close())
	return took
}
