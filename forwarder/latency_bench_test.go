package forwarder_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

// ackClock notes when each record was acknowledged, by its event id.
type ackClock struct {
	delivery.Sender
	mu    sync.Mutex
	acked map[string]time.Time
	more  chan struct{}
}

func (a *ackClock) Stream(config delivery.StreamConfig) delivery.Stream {
	report := config.Report
	config.Report = func(records []*delivery.Record, verdict delivery.Verdict) {
		now := time.Now()
		a.mu.Lock()
		for _, r := range records {
			a.acked[string(r.Headers[0].Value)] = now
		}
		a.mu.Unlock()
		select {
		case a.more <- struct{}{}:
		default:
		}
		report(records, verdict)
	}
	return a.Sender.Stream(config)
}

// BenchmarkCommitToKafka takes the time from a transaction's commit to the broker's acknowledgement, at
// 200 events a second, with the default settings and no wake-up.
func BenchmarkCommitToKafka(b *testing.B) {
	broker := bustest.KafkaProcess(b, bustest.ProcessConfig{})
	broker.CreateTopic(b, benchTopic, 6, nil)
	db, _ := bustest.Postgres(b)
	_, err := outbox.Migrate(b.Context(), db, outbox.MigrateConfig{})
	require.NoError(b, err)
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}})
	require.NoError(b, err)
	clock := &ackClock{Sender: sender, acked: map[string]time.Time{}, more: make(chan struct{}, 1)}
	f, err := forwarder.New(forwarder.Config{DB: db, Sender: clock, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()

	const perRound = 600
	committed := map[string]time.Time{}
	for b.Loop() {
		pace := time.NewTicker(time.Second / 200)
		for range perRound {
			<-pace.C
			var id string
			require.NoError(b, db.QueryRowContext(ctx, `INSERT INTO event_outbox (event_id, topic, payload, key)
				VALUES (gen_random_uuid()::text, $1, $2, 'k') RETURNING event_id`, benchTopic, benchPayload(1)).Scan(&id))
			committed[id] = time.Now()
		}
		pace.Stop()
	}
	for missing := true; missing; {
		<-clock.more
		clock.mu.Lock()
		missing = len(clock.acked) < len(committed)
		clock.mu.Unlock()
	}
	cancel()
	require.NoError(b, <-done)
	require.NoError(b, sender.Close())
	took := make([]time.Duration, 0, len(committed))
	for id, at := range committed {
		took = append(took, max(0, clock.acked[id].Sub(at)))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}
