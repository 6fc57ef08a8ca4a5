package kafka_test

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// TestRoute: a record's route says more of its partition than the sender's own partitioner.
func TestRoute(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	const partitions, keys = 7, 100
	broker.CreateTopic(t, "orders", partitions, nil)
	murmur2 := func(key []byte) int32 { return kafka.PartitionFor(key, partitions) }
	theirs := sarama.NewHashPartitioner("orders")
	fnv1a := func(key []byte) int32 {
		partition, err := theirs.Partition(&sarama.ProducerMessage{Key: sarama.ByteEncoder(key)}, partitions)
		require.NoError(t, err)
		return partition
	}
	neither := func(key []byte) int32 {
		partition := int32(0)
		for partition == murmur2(key) || partition == fnv1a(key) {
			partition++
		}
		return partition
	}
	unseen := func([]byte) int32 { return -1 }
	cases := []struct {
		shows       string
		sender      kafka.Partitioner
		partitioner kafka.Partitioner
		seen, want  func([]byte) int32
	}{
		{"no hint", kafka.Murmur2, "", unseen, murmur2},
		{"a partitioner", kafka.Murmur2, kafka.FNV1a, unseen, fnv1a},
		{"the other one", kafka.FNV1a, kafka.Murmur2, unseen, murmur2},
		{"a partitioner that moved the key when the topic grew", kafka.Murmur2, kafka.FNV1a, murmur2, fnv1a},
		{"seen where its own has it", kafka.FNV1a, "", fnv1a, fnv1a},
		{"seen where another has it", kafka.Murmur2, "", fnv1a, fnv1a},
		{"seen where none has it", kafka.Murmur2, "", neither, murmur2},
		{"a partitioner of the future", kafka.Murmur2, "crc32", unseen, murmur2},
	}
	total := 0
	for round := range 2 { // in the second one a sender knows the topic
		senders := map[kafka.Partitioner]delivery.Stream{}
		for _, p := range []kafka.Partitioner{kafka.Murmur2, kafka.FNV1a} {
			sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}, Partitioner: p})
			require.NoError(t, err)
			defer func() { require.NoError(t, sender.Close()) }()
			require.Equal(t, p, sender.Partitioner())
			stream := sender.Stream(delivery.StreamConfig{Report: func([]*delivery.Record, delivery.Verdict) {}})
			if round == 1 {
				stream.Send([]*delivery.Record{{Topic: "orders", Value: []byte("0")}})
				total++
			}
			senders[p] = stream
		}
		broker.WaitRecords(t, "orders", total, soon)
		want := map[string]int32{}
		for i, one := range cases {
			for k := range keys {
				key := fmt.Appendf(nil, "%d/%d/%d", round, i, k)
				want[string(key)] = one.want(key)
				senders[one.sender].Send([]*delivery.Record{{
					Topic: "orders", Key: key, Value: []byte("x"),
					Route: &delivery.Route{Partitioner: one.partitioner, Seen: one.seen(key)},
				}})
				total++
			}
		}
		differ := 0
		for _, record := range broker.WaitRecords(t, "orders", total, soon) {
			partition, ours := want[string(record.Key)]
			if !ours {
				continue
			}
			require.Equal(t, partition, record.Partition, "%s", record.Key)
			delete(want, string(record.Key))
			if murmur2(record.Key) != fnv1a(record.Key) {
				differ++
			}
		}
		require.Empty(t, want)
		require.Greater(t, differ, len(cases)*keys/2)
	}
}
