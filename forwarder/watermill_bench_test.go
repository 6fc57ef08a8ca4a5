package forwarder_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder"
)

// BenchmarkWatermillEngine is the slow way in the setting of BenchmarkForward: the rate of its first
// events, with the whole backlog behind them, and beside it the fast way's on the same table.
func BenchmarkWatermillEngine(b *testing.B) {
	for _, latency := range []time.Duration{0, 2 * time.Millisecond} {
		b.Run(fmt.Sprintf("broker=%v", latency), func(b *testing.B) {
			broker := bustest.KafkaProcess(b, bustest.ProcessConfig{ProduceLatency: latency})
			broker.CreateTopic(b, benchTopic, 6, nil)
			sample := 5000
			if latency > 0 {
				sample = 1500
			}
			var engine, fast time.Duration
			events := 0
			for b.Loop() {
				events++
				engine += benchEngine(b, broker, sample)
				fast += benchTailrace(b, broker, nil)
			}
			slowRate := float64(events*sample) / engine.Seconds()
			fastRate := float64(events*benchBacklog) / fast.Seconds()
			b.ReportMetric(slowRate, "engine-events/s")
			b.ReportMetric(fastRate, "forwarder-events/s")
			b.ReportMetric(fastRate/slowRate, "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func benchEngine(b *testing.B, broker *bustest.Broker, sample int) time.Duration {
	b.Helper()
	db, _ := bustest.Postgres(b)
	_, err := outbox.Migrate(b.Context(), db, outbox.MigrateConfig{})
	require.NoError(b, err)
	fillOutbox(b, db, benchBacklog)
	out, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}}})
	require.NoError(b, err)
	counted := &countingPublisher{Publisher: out, want: int64(sample), done: make(chan struct{})}
	e, err := forwarder.NewWatermillEngine(forwarder.WatermillConfig{DB: db, Publisher: counted, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- e.Run(ctx) }()
	<-counted.done
	took := time.Since(start)
	cancel()
	require.NoError(b, <-ended)
	require.NoError(b, out.Close())
	return took
}
