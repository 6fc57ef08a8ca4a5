package consumer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// BenchmarkOnKafka is BenchmarkRouter with bus/kafka's subscriber, on a broker in a process of its own:
// each contender reads the same 20,000 records of one partition, in a consumer group of its own.
func BenchmarkOnKafka(b *testing.B) {
	const backlog = 20_000
	broker := bustest.KafkaProcess(b, bustest.ProcessConfig{})
	broker.CreateTopic(b, "users", 1, nil)
	cluster := kafka.Config{Brokers: broker.Brokers()}
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: cluster}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, publisher.Close()) })
	next := published(b)
	for range backlog / 1000 {
		messages := make([]*message.Message, 1000)
		for i := range messages {
			messages[i] = next()
		}
		require.NoError(b, publisher.Publish("users", messages...))
	}
	var bare [3]float64
	for i, contender := range contenders {
		b.Run(contender.name, func(b *testing.B) {
			var took, used time.Duration
			for b.Loop() {
				var handled atomic.Int64
				var since time.Time
				var before time.Duration
				done := make(chan struct{})
				handler := contender.make(b, func() {
					switch handled.Add(1) {
					case 1: // joining the group is no part of it
						since, before = time.Now(), processorTime(b)
					case backlog:
						close(done)
					}
				})
				router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
				require.NoError(b, err)
				subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{Config: cluster, ConsumerGroup: uuid.NewString()}, watermill.NopLogger{})
				require.NoError(b, err)
				router.AddHandler("users", "users", subscriber, "", consumer.Shared(nothing{}), handler)
				ended := make(chan error, 1)
				go func() { ended <- router.Run(context.Background()) }()
				<-done
				took += time.Since(since)
				used += processorTime(b) - before
				require.NoError(b, router.Close())
				require.NoError(b, <-ended)
			}
			events := float64(b.N) * backlog
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(events/took.Seconds(), "events/s")
			cost := float64(used) / events
			b.ReportMetric(cost, "cpu-ns/event")
			if i < len(bare) {
				bare[i] = cost
				return
			}
			b.ReportMetric(100*bare[0]/cost, "%-of-bare")
			b.ReportMetric(100*bare[1]/cost, "%-of-decoding")
			b.ReportMetric(100*bare[2]/cost, "%-of-encoding-json")
		})
	}
}
