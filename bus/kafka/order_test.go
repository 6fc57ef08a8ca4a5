package kafka_test

import (
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func TestOrderUnderFaults(t *testing.T) {
	t.Parallel()
	const records, keys, partitions = 20_000, 500, 6
	for _, test := range []struct {
		name    string
		actions []bustest.Action
	}{
		{"connections dropped before the append", []bustest.Action{bustest.DropBefore}},
		{"connections dropped after the append", []bustest.Action{bustest.DropAfter}},
		{"refused for a while", []bustest.Action{
			bustest.RefuseBefore(sarama.ErrNotEnoughReplicas), bustest.RefuseBefore(sarama.ErrNotLeaderForPartition),
			bustest.RefuseBefore(sarama.ErrLeaderNotAvailable), bustest.RefuseBefore(sarama.ErrKafkaStorageError),
		}},
		{"appended but not acknowledged", []bustest.Action{
			bustest.RefuseAfter(sarama.ErrNotEnoughReplicasAfterAppend), bustest.RefuseAfter(sarama.ErrRequestTimedOut),
		}},
		{"all of it", []bustest.Action{
			bustest.DropBefore, bustest.DropAfter, bustest.RefuseBefore(sarama.ErrNotEnoughReplicas),
			bustest.RefuseAfter(sarama.ErrRequestTimedOut), bustest.RefuseBefore(sarama.ErrNotLeaderForPartition),
			bustest.RefuseBefore(sarama.ErrMessageSizeTooLarge),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			broker := bustest.Kafka(t, bustest.KafkaBrokers(2))
			broker.CreateTopic(t, "orders", partitions, nil)
			sender := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) { c.BatchRecords = 100 })
			sink := newSink(t)
			stream := sender.Stream(sink.config())

			var injected, raised atomic.Int64
			tried := map[int32]int32{}
			tooLarge := bustest.RefuseBefore(sarama.ErrMessageSizeTooLarge)
			random := rand.New(rand.NewPCG(1, 2))
			var mu sync.Mutex
			broker.FailBatch(func(batch bustest.Batch) bustest.Action {
				mu.Lock()
				defer mu.Unlock()
				raised.Add(int64(batch.ProducerEpoch))
				sequence, known := tried[batch.Partition]
				again := known && sequence == batch.FirstSequence
				tried[batch.Partition] = batch.FirstSequence
				if random.IntN(100) >= 30 {
					return bustest.Pass
				}
				action := test.actions[random.IntN(len(test.actions))]
				if action == tooLarge && (again || batch.Records == 1) {
					// Alone, it would be the record's fault; and what was appended is not refused later.
					return bustest.Pass
				}
				injected.Add(1)
				return action
			})
			all := keyed("orders", 0, records, keys)
			for from := 0; from < records; from += 500 {
				stream.Send(all[from : from+500])
			}
			sink.wait(records)
			broker.FailBatch(nil)
			require.Equal(t, map[delivery.Fault]int{delivery.Delivered: records}, sink.faults())
			// A batch refused for its size after its first copy was lost with the connection raises the lane's
			// epoch. The embedded broker keeps one epoch for all partitions of a producer, Apache Kafka one for
			// each: there the other lanes' ids are refused too, and a batch of theirs may come twice.
			found := broker.Records(t, "orders")
			if raised.Load() > 0 && os.Getenv("TAILRACE_KAFKA") != "apache" {
				requireOrder(t, found, records, partitions)
			} else {
				requireSequence(t, found, records, partitions)
			}
			require.Greater(t, injected.Load(), int64(20))
			t.Logf("%d faults in %d requests", injected.Load(), broker.ProduceRequests())
		})
	}
}

func TestOffsetsFollow(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 3, nil)
	sender := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) { c.BatchRecords = 7 })
	sink := newSink(t)
	type place struct {
		partition int32
		offset    int64
	}
	places := map[string]place{}
	sink.onReport = func(records []*delivery.Record, verdict delivery.Verdict) {
		for i, record := range records {
			places[string(record.Value)] = place{verdict.Partition, verdict.Offset + int64(i)}
		}
	}
	stream := sender.Stream(sink.config())
	stream.Send(keyed("orders", 0, 200, 20))
	sink.wait(200)
	for _, record := range broker.Records(t, "orders") {
		require.Equal(t, place{record.Partition, record.Offset}, places[string(record.Value)])
	}
}
