package kafka_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func TestSmallTopicLimitRefusesNoFittingRecord(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "small", 2, map[string]string{"max.message.bytes": "4096"})
	sink := newSink(t)
	stream := newSender(t, broker.Brokers()).Stream(sink.config())
	stream.Send(keyed("small", 0, 5_000, 50))
	sink.wait(5_000)
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 5_000}, sink.faults())
	requireSequence(t, broker.Records(t, "small"), 5_000, 2)
	// Halving alone would need hundreds of refusals; the limit is read once the first batch is refused.
	require.Less(t, broker.ProduceRequests(), int64(400))
}

func TestTooLargeRecordHoldsUpItsKeyOnly(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10_000, 101 << 20} { // for the broker; for sarama's own bound too
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			broker := bustest.Kafka(t)
			broker.CreateTopic(t, "small", 1, map[string]string{"max.message.bytes": "4096"})
			sink := newSink(t)
			stream := newSender(t, broker.Brokers()).Stream(sink.config())
			records := keyed("small", 0, 2_000, 50)
			guilty := records[777]
			guilty.Value = make([]byte, size)
			stream.Send(records)
			sink.wait(2_000)

			stored := map[string]bool{}
			for _, record := range broker.Records(t, "small") {
				stored[string(record.Value)] = true
			}
			for _, record := range records {
				verdict := sink.verdict(record.Ref)
				want := delivery.Delivered
				switch {
				case record == guilty:
					want = delivery.Refused
					require.Error(t, verdict.Err)
					require.NotContains(t, verdict.Err.Error(), "\x00")
				case bytes.Equal(record.Key, guilty.Key) && record.Ref > guilty.Ref:
					want = delivery.Withheld
				}
				require.Equal(t, want, verdict.Fault, "record %d: %v", record.Ref, verdict.Err)
				require.Equal(t, want == delivery.Delivered, stored[string(record.Value)])
			}
			// One partition: the reports are in the order of the records.
			require.True(t, slices.IsSorted(sink.order))

			// Under a new fence the key goes on.
			again := keyed("small", 10_027, 1, 50)
			stream.Send(again)
			sink.wait(2_001)
			require.Equal(t, delivery.Delivered, sink.verdict(10_027).Fault)
		})
	}
}

func TestGuiltyRecordsAreFoundByHalving(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	var requests atomic.Int64
	sink := newSink(t)
	stream := newSender(t, broker.Brokers()).Stream(sink.config())
	// The broker refuses a batch while it holds one of two bad records, told by the batch's place.
	bad := []int32{300, 301}
	var sequence int32 // records appended so far
	broker.FailBatch(func(batch bustest.Batch) bustest.Action {
		requests.Add(1)
		for _, place := range bad {
			if place >= sequence && place < sequence+int32(batch.Records) {
				if batch.Records == 1 {
					bad = slices.DeleteFunc(bad, func(p int32) bool { return p == place })
					for i := range bad {
						bad[i]-- // the refused record does not count
					}
				}
				return bustest.RefuseBefore(sarama.ErrInvalidRecord)
			}
		}
		sequence += int32(batch.Records)
		return bustest.Pass
	})
	stream.Send(keyed("orders", 0, 1_000, 1_000))
	sink.wait(1_000)
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 998, delivery.Refused: 2}, sink.faults())
	require.Equal(t, delivery.Refused, sink.verdict(300).Fault)
	require.Equal(t, delivery.Refused, sink.verdict(301).Fault)
	require.Less(t, requests.Load(), int64(60))
}

func TestTopicFaultHoldsUpNoOtherTopic(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		topic string
		fault delivery.Fault
		arm   func(*bustest.Broker)
	}{
		{"unknown", "nowhere", delivery.Topic, func(*bustest.Broker) {}},
		{"denied by metadata", "secret", delivery.Topic, func(b *bustest.Broker) { b.Deny("secret") }},
		{"denied by produce", "secret", delivery.Topic, func(b *bustest.Broker) {
			b.FailProduce(func(topic string, _ int32) bustest.Action {
				if topic == "secret" {
					return bustest.RefuseBefore(sarama.ErrTopicAuthorizationFailed)
				}
				return bustest.Pass
			})
		}},
		{"illegal name", "no such/topic", delivery.Refused, func(*bustest.Broker) {}},
		{"no name", "", delivery.Refused, func(*bustest.Broker) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			broker := bustest.Kafka(t)
			broker.CreateTopic(t, "orders", 3, nil)
			broker.CreateTopic(t, "secret", 3, nil)
			test.arm(broker)
			sink := newSink(t)
			stream := newSender(t, broker.Brokers()).Stream(sink.config())
			stream.Send(keyed("orders", 0, 1, 1))
			sink.wait(1)
			started := len(sink.notices())

			bad := keyed(test.topic, 1_000, 100, 10)
			good := keyed("orders", 1, 100, 10)
			mixed := make([]*delivery.Record, 0, 200) // sent at once: behind a verdict on its key, a record is withheld
			for i := range bad {
				mixed = append(mixed, bad[i], good[i])
			}
			stream.Send(mixed)
			sink.wait(201)
			require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 101, test.fault: 100}, sink.faults())
			require.False(t, sink.troubledSince(started), "a topic's fault is not the broker's: %v", sink.notices()[started:])
			byKey := map[string][]int64{}
			for _, ref := range sink.order {
				if ref >= 1_000 {
					key := string(bad[ref-1_000].Key)
					byKey[key] = append(byKey[key], ref)
				}
			}
			for key, refs := range byKey {
				require.True(t, slices.IsSorted(refs), "%s: %v", key, refs)
			}
		})
	}
}

func TestTopicFaultEndsWhenTheTopicAppears(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	sink := newSink(t)
	stream := newSender(t, broker.Brokers()).Stream(sink.config())
	stream.Send(keyed("late", 0, 10, 2))
	sink.wait(10)
	require.Equal(t, map[delivery.Fault]int{delivery.Topic: 10}, sink.faults())
	broker.CreateTopic(t, "late", 4, nil)
	stream.Send(keyed("late", 10, 10, 2))
	sink.wait(20)
	require.Equal(t, map[delivery.Fault]int{delivery.Topic: 10, delivery.Delivered: 10}, sink.faults())
}

func TestAutoCreate(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t, bustest.KafkaBrokers(2))
	sink := newSink(t)
	stream := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) {
		c.AutoCreate = &kafka.TopicShape{Partitions: 5, ReplicationFactor: 1, Configs: map[string]string{"max.message.bytes": "9000"}}
	}).Stream(sink.config())
	stream.Send(append(keyed("new", 0, 100, 20), keyed("newer", 100, 100, 20)...))
	sink.wait(200)
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 200}, sink.faults())
	requireSequence(t, broker.Records(t, "new"), 100, 5)
}

func TestBrokerAway(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t, bustest.KafkaBrokers(2))
	broker.CreateTopic(t, "orders", 4, nil)
	sink := newSink(t)
	stream := newSender(t, broker.Brokers()).Stream(sink.config())
	stream.Send(keyed("orders", 0, 100, 10))
	sink.wait(100)

	broker.Stop()
	before := len(sink.notices())
	stream.Send(keyed("orders", 100, 1_000, 10))
	require.Eventually(t, func() bool { return len(sink.notices()) > before+20 }, soon, time.Millisecond)
	require.Equal(t, 100, sink.reported(), "nothing is reported while the broker is away")
	for _, notice := range sink.notices()[before:] {
		require.Error(t, notice)
	}
	broker.Restart(t)
	sink.wait(1_100)
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 1_100}, sink.faults())
	require.Eventually(t, func() bool { return slices.Contains(sink.notices(), nil) }, soon, time.Millisecond)
	notices := sink.notices()
	require.NoError(t, notices[len(notices)-1], "the last word is that the broker is back")
	requireSequence(t, broker.Records(t, "orders"), 1_100, 4)
}

func TestBrokerAwayFromTheStart(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	broker.Stop()
	sink := newSink(t)
	stream := newSender(t, broker.Brokers()).Stream(sink.config())
	stream.Send(keyed("orders", 0, 10, 1))
	require.Eventually(t, sink.troubled, soon, time.Millisecond)
	broker.Restart(t)
	sink.wait(10)
	require.Eventually(t, func() bool { return slices.Contains(sink.notices(), nil) }, soon, time.Millisecond)
}

func TestPermitLost(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	sender := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) { c.BatchRecords = 10 })
	sink := newSink(t)
	// The first batch is appended but its answer lost; before the resend the permit is gone.
	broker.FailProduce(func(string, int32) bustest.Action { return bustest.DropAfter })
	sink.permit = func() bool { return sink.permitted <= 1 }
	stream := sender.Stream(sink.config())
	stream.Send(keyed("orders", 0, 100, 1))
	sink.wait(100)
	require.Equal(t, 2, sink.permitted)
	require.Equal(t, delivery.Transport, sink.verdict(0).Fault)
	require.Equal(t, delivery.Withheld, sink.verdict(99).Fault)
	transport := sink.faults()[delivery.Transport]
	require.Equal(t, 100, transport+sink.faults()[delivery.Withheld])
	broker.FailProduce(nil)
	require.Len(t, broker.Records(t, "orders"), transport)

	// Afterwards it takes nothing any more, while another stream of the sender does: the lane goes on
	// under a new epoch, though the sequence of the lost batch is taken.
	stream.Send(keyed("orders", 100, 10, 1))
	sink.wait(110)
	require.Equal(t, delivery.Withheld, sink.verdict(100).Fault)
	next := newSink(t)
	other := sender.Stream(next.config())
	other.Send(keyed("orders", 0, 100, 1))
	next.wait(100)
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 100}, next.faults())
	require.Len(t, broker.Records(t, "orders"), transport+100)
	stream.Close()
}

func TestPermitIsAskedForEveryRequest(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	sink := newSink(t)
	stream := newSender(t, broker.Brokers()).Stream(sink.config())
	refusals := 5
	broker.FailProduce(func(string, int32) bustest.Action {
		if refusals--; refusals >= 0 {
			return bustest.RefuseBefore(sarama.ErrNotEnoughReplicas)
		}
		return bustest.Pass
	})
	stream.Send(keyed("orders", 0, 1, 1))
	sink.wait(1)
	require.Equal(t, 6, sink.permitted)
	require.Equal(t, int64(6), broker.ProduceRequests())
}

func TestStreamClose(t *testing.T) {
	t.Parallel()
	t.Run("on the wire, answered", func(t *testing.T) {
		t.Parallel()
		broker := bustest.Kafka(t)
		broker.CreateTopic(t, "orders", 1, nil)
		broker.ProduceLatency(200 * time.Millisecond)
		sink := newSink(t)
		stream := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) { c.BatchRecords = 10 }).Stream(sink.config())
		stream.Send(keyed("orders", 0, 10, 1))
		require.Eventually(t, func() bool { return broker.ProduceRequests() == 1 }, soon, time.Millisecond)
		stream.Send(keyed("orders", 10, 10, 1))
		stream.Close()
		require.Equal(t, 20, sink.reported(), "Close returns when every record was reported")
		require.Equal(t, delivery.Delivered, sink.verdict(0).Fault)
		require.Equal(t, delivery.Withheld, sink.verdict(10).Fault)
		require.ErrorIs(t, sink.verdict(10).Err, kafka.ErrClosed)
	})
	t.Run("on the wire, never answered", func(t *testing.T) {
		t.Parallel()
		broker := bustest.Kafka(t)
		broker.CreateTopic(t, "orders", 1, nil)
		broker.FailProduce(func(string, int32) bustest.Action { return bustest.HangAfter })
		sender := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) { c.Config.RequestTimeout = 300 * time.Millisecond })
		sink := newSink(t)
		stream := sender.Stream(sink.config())
		stream.Send(keyed("orders", 0, 1, 1))
		require.Eventually(t, func() bool { return broker.ProduceRequests() == 1 }, soon, time.Millisecond)
		started := time.Now()
		stream.Close()
		require.Less(t, time.Since(started), 2*time.Second)
		require.Equal(t, delivery.Transport, sink.verdict(0).Fault)
		broker.FailProduce(nil)

		// The lane is free again for the next stream.
		next := newSink(t)
		other := sender.Stream(next.config())
		other.Send(keyed("orders", 0, 10, 1))
		next.wait(10)
		require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 10}, next.faults())
	})
	t.Run("broker away", func(t *testing.T) {
		t.Parallel()
		broker := bustest.Kafka(t)
		broker.Stop()
		sink := newSink(t)
		stream := newSender(t, broker.Brokers()).Stream(sink.config())
		stream.Send(keyed("orders", 0, 10, 2))
		require.Eventually(t, sink.troubled, soon, time.Millisecond)
		stream.Close()
		require.Equal(t, map[delivery.Fault]int{delivery.Withheld: 10}, sink.faults())
		stream.Close() // again
	})
}

func TestBatchesDoNotMixStreams(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 2, nil)
	sender := newSender(t, broker.Brokers())
	sinks := []*sink{newSink(t), newSink(t), newSink(t)}
	var streams []delivery.Stream
	for _, s := range sinks {
		streams = append(streams, sender.Stream(s.config()))
	}
	for i := range 300 {
		streams[i%3].Send(keyed("orders", i*10, 10, 7))
	}
	for _, s := range sinks {
		s.wait(1_000)
		require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 1_000}, s.faults())
	}
	require.Len(t, broker.Records(t, "orders"), 3_000)
}

func TestClosedSender(t *testing.T) {
	t.Parallel()
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: []string{"127.0.0.1:1"}}})
	require.NoError(t, err)
	require.NoError(t, sender.Close())
	sink := newSink(t)
	stream := sender.Stream(sink.config())
	stream.Send(keyed("orders", 0, 3, 1))
	sink.wait(3)
	require.Equal(t, map[delivery.Fault]int{delivery.Withheld: 3}, sink.faults())
	stream.Close()
	require.NoError(t, sender.Close())
}

func TestErrorsCarryNoPayload(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "small", 1, map[string]string{"max.message.bytes": "1000"})
	sink := newSink(t)
	stream := newSender(t, broker.Brokers()).Stream(sink.config())
	stream.Send([]*delivery.Record{{Topic: "small", Key: []byte("hush"), Value: bytes.Repeat([]byte("confidential"), 1_000)}})
	sink.wait(1)
	err := sink.verdict(0).Err
	require.ErrorIs(t, err, sarama.ErrMessageSizeTooLarge)
	require.NotContains(t, err.Error(), "confidential")
	require.NotContains(t, err.Error(), "hush")
	require.True(t, strings.HasPrefix(err.Error(), "kafka: "))
	require.NotErrorIs(t, err, errors.ErrUnsupported)
}

func TestLimitThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	config := kafka.Config{Brokers: cluster.ListenAddrs()}
	require.NoError(t, kafka.CreateTopics(t.Context(), config, kafka.Topic{
		Name: "small", TopicShape: kafka.TopicShape{Partitions: 1, ReplicationFactor: 1, Configs: map[string]string{"max.message.bytes": "2000"}},
	}))
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	requests := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1})
	sink := newSink(t)
	stream := newSender(t, config.Brokers).Stream(sink.config())
	stream.Send(keyed("small", 0, 5_000, 50))
	sink.wait(5_000)
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 5_000}, sink.faults())
	// Some 30 records fit. What was refused once is not tried again for each batch.
	require.Less(t, requests.Hits(), 600)
	t.Log(requests.Hits(), "requests")
}
