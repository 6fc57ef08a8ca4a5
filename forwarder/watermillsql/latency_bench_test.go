package watermillsql_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/forwarder/watermillsql"
)

// BenchmarkCommitToKafka takes the time from a transaction's commit to the record's timestamp, which is its
// sending and of whole milliseconds, at 200 messages a second, with the default settings.
func BenchmarkCommitToKafka(b *testing.B) {
	broker := bustest.KafkaProcess(b, bustest.ProcessConfig{})
	broker.CreateTopic(b, orders, 6, nil)
	db, dsn := bustest.Postgres(b)
	bundle := &bundle{t: b, db: db, dsn: dsn, broker: broker, topic: outbox, next: map[string]int{}}
	require.NoError(b, bundle.initialize())
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}})
	require.NoError(b, err)
	f, err := watermillsql.New(watermillsql.Config{DB: db, Topic: outbox, KeyMetadata: keyField, Sender: sender, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()

	committed := map[string]time.Time{}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for b.Loop() {
		<-tick.C
		id := fmt.Sprintf("%d", len(committed))
		msg := message.NewMessage(id, []byte(id))
		msg.Metadata.Set(keyField, id)
		require.NoError(b, bundle.inTx(orders, msg))
		committed[id] = time.Now()
	}
	var took []time.Duration
	for _, record := range broker.WaitRecords(b, orders, len(committed), patience) {
		took = append(took, record.Timestamp.Sub(committed[string(record.Value)]))
	}
	cancel()
	require.NoError(b, <-done)
	require.NoError(b, sender.Close())
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}
