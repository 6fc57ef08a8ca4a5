package kafka_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// batches notes what produce requests held.
type batches struct {
	mu   sync.Mutex
	seen []bustest.Batch
}

func (b *batches) watch(broker *bustest.Broker, fault func(n int, batch bustest.Batch) bustest.Action) {
	broker.FailBatch(func(batch bustest.Batch) bustest.Action {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.seen = append(b.seen, batch)
		return fault(len(b.seen)-1, batch)
	})
}

func TestStaleIdentityIsReplaced(t *testing.T) {
	t.Parallel()
	for _, code := range []sarama.KError{
		sarama.ErrOutOfOrderSequenceNumber, sarama.ErrUnknownProducerID, sarama.ErrInvalidProducerEpoch, sarama.ErrInvalidProducerIDMapping,
	} {
		t.Run(code.Error(), func(t *testing.T) {
			t.Parallel()
			broker := bustest.Kafka(t)
			broker.CreateTopic(t, "orders", 1, nil)
			var seen batches
			seen.watch(broker, func(n int, _ bustest.Batch) bustest.Action {
				if n == 1 {
					return bustest.RefuseBefore(code)
				}
				return bustest.Pass
			})
			sink := newSink(t)
			stream := newSender(t, broker.Brokers()).Stream(sink.config())
			stream.Send(keyed("orders", 0, 10, 2))
			sink.wait(10)
			started := len(sink.notices())
			stream.Send(keyed("orders", 10, 10, 2))
			sink.wait(20)
			stream.Send(keyed("orders", 20, 10, 2))
			sink.wait(30)
			require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 30}, sink.faults())
			require.Len(t, seen.seen, 4)
			require.Equal(t, seen.seen[0].ProducerID, seen.seen[1].ProducerID)
			require.Equal(t, int32(10), seen.seen[1].FirstSequence)
			require.NotEqual(t, seen.seen[1].ProducerID, seen.seen[2].ProducerID)
			require.Equal(t, int32(0), seen.seen[2].FirstSequence)
			require.Equal(t, seen.seen[2].ProducerID, seen.seen[3].ProducerID)
			require.Equal(t, int32(10), seen.seen[3].FirstSequence)
			require.False(t, sink.troubledSince(started), "that is no outage: %v", sink.notices()[started:])
		})
	}
}

// TestGivenUpBatchIsFencedOff: what was given up without knowing must not arrive behind what follows.
func TestGivenUpBatchIsFencedOff(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	var seen batches
	seen.watch(broker, func(n int, _ bustest.Batch) bustest.Action {
		if n == 0 {
			return bustest.HangBefore
		}
		return bustest.Pass
	})
	sender := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) { c.Config.RequestTimeout = 300 * time.Millisecond })
	giveUp(t, broker, sender)

	next := newSink(t)
	other := sender.Stream(next.config())
	other.Send(keyed("orders", 0, 1, 1))
	next.wait(1)
	require.Equal(t, delivery.Delivered, next.verdict(0).Fault)
	require.Equal(t, seen.seen[0].ProducerID, seen.seen[1].ProducerID)
	require.Equal(t, seen.seen[0].ProducerEpoch+1, seen.seen[1].ProducerEpoch)
	require.Equal(t, int32(0), seen.seen[1].FirstSequence)
}

func TestTopicMadeAnewWithFewerPartitions(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 6, nil)
	sink := newSink(t)
	stream := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) { c.TopicGrace = soon }).Stream(sink.config())
	broker.FailProduce(func(string, int32) bustest.Action { return bustest.RefuseBefore(sarama.ErrNotEnoughReplicas) })
	stream.Send(keyed("orders", 0, 500, 50))
	require.Eventually(t, sink.troubled, soon, time.Millisecond)

	settings, err := kafka.Config{Brokers: broker.Brokers()}.Sarama()
	require.NoError(t, err)
	admin, err := sarama.NewClusterAdmin(broker.Brokers(), settings)
	require.NoError(t, err)
	defer func() { require.NoError(t, admin.Close()) }()
	require.NoError(t, admin.DeleteTopic("orders"))
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	require.NoError(t, kafka.CreateTopics(ctx, kafka.Config{Brokers: broker.Brokers()}, kafka.Topic{
		Name: "orders", TopicShape: kafka.TopicShape{Partitions: 2, ReplicationFactor: 1},
	}))
	broker.FailProduce(nil)
	stream.Send(keyed("orders", 500, 500, 50))
	sink.wait(1_000)
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 1_000}, sink.faults())
	last := map[string]string{}
	for _, record := range broker.WaitRecords(t, "orders", 1_000, soon) {
		require.Less(t, last[string(record.Key)], string(record.Value), "in order within the key and partition")
		last[string(record.Key)] = string(record.Value)
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	for _, compression := range []kafka.Compression{kafka.NoCompression, kafka.Gzip, kafka.Snappy, kafka.LZ4, kafka.Zstd} {
		t.Run(string(compression), func(t *testing.T) {
			topic := "orders-" + string(compression)
			broker.CreateTopic(t, topic, 2, nil)
			sink := newSink(t)
			stream := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) { c.Compression = compression }).Stream(sink.config())
			stream.Send(keyed(topic, 0, 1_000, 50))
			sink.wait(1_000)
			records := broker.Records(t, topic)
			requireSequence(t, records, 1_000, 2)
			value, ok := records[0].Header("n")
			require.True(t, ok)
			require.Contains(t, string(records[0].Value), value)
			require.WithinDuration(t, time.Now(), records[0].Timestamp, time.Minute)
		})
	}
}

func TestRecordsWithoutKeyUseAllPartitions(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 4, nil)
	sink := newSink(t)
	stream := newSender(t, broker.Brokers()).Stream(sink.config())
	for i := range 40 { // one by one, and many at once
		stream.Send([]*delivery.Record{{Topic: "orders", Ref: int64(i)}})
	}
	many := make([]*delivery.Record, 4_000)
	for i := range many {
		many[i] = &delivery.Record{Topic: "orders", Value: []byte{}, Ref: int64(40 + i)}
	}
	stream.Send(many)
	sink.wait(4_040)
	count := map[int32]int{}
	for _, record := range broker.Records(t, "orders") {
		require.Nil(t, record.Key)
		count[record.Partition]++
	}
	require.Len(t, count, 4)
	for partition, n := range count {
		require.Greater(t, n, 500, "partition %d", partition)
	}
}

// TestBatchFaultedAfterAnUnknownAttempt: the batch that follows must not pass as a duplicate of one that was
// appended without our knowing and then given another verdict.
func TestBatchFaultedAfterAnUnknownAttempt(t *testing.T) {
	t.Parallel()
	for _, code := range []sarama.KError{sarama.ErrTopicAuthorizationFailed, sarama.ErrInvalidRecord} {
		t.Run(code.Error(), func(t *testing.T) {
			t.Parallel()
			broker := bustest.Kafka(t)
			broker.CreateTopic(t, "orders", 1, nil)
			var seen batches
			seen.watch(broker, func(n int, _ bustest.Batch) bustest.Action {
				switch n {
				case 0:
					return bustest.RefuseAfter(sarama.ErrRequestTimedOut)
				case 1:
					return bustest.RefuseBefore(code)
				default:
					return bustest.Pass
				}
			})
			sink := newSink(t)
			stream := newSender(t, broker.Brokers()).Stream(sink.config())
			stream.Send(keyed("orders", 0, 1, 1))
			sink.wait(1)
			require.NotEqual(t, delivery.Delivered, sink.verdict(0).Fault)
			stream.Send(keyed("orders", 1, 1, 1))
			sink.wait(2)
			require.Equal(t, delivery.Delivered, sink.verdict(1).Fault)
			records := broker.Records(t, "orders")
			require.Equal(t, "00000001", string(records[len(records)-1].Value), "what is reported delivered is there")
		})
	}
}

func TestDuplicateOfWhatWasNeverSent(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	var seen batches
	seen.watch(broker, func(n int, _ bustest.Batch) bustest.Action {
		if n == 0 {
			return bustest.RefuseBefore(sarama.ErrDuplicateSequenceNumber)
		}
		return bustest.Pass
	})
	sink := newSink(t)
	stream := newSender(t, broker.Brokers()).Stream(sink.config())
	stream.Send(keyed("orders", 0, 1, 1))
	sink.wait(1)
	require.Equal(t, delivery.Delivered, sink.verdict(0).Fault)
	require.Len(t, broker.Records(t, "orders"), 1)
}

// giveUp has the sender's first request go to a broker that does not answer, until nobody waits for it.
func giveUp(t *testing.T, broker *bustest.Broker, sender *kafka.Sender) {
	t.Helper()
	sink := newSink(t)
	stream := sender.Stream(sink.config())
	stream.Send(keyed("orders", 0, 1, 1))
	require.Eventually(t, func() bool { return broker.ProduceRequests() == 1 }, soon, time.Millisecond)
	stream.Close()
	require.Equal(t, delivery.Transport, sink.verdict(0).Fault)
}
