package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func TestPartitionGrowthKeepsKeysInOrder(t *testing.T) {
	t.Parallel()
	const n = 20_000
	broker := bustest.Kafka(t, bustest.KafkaBrokers(2))
	broker.CreateTopic(t, "orders", 2, nil)
	broker.ProduceLatency(2 * time.Millisecond)
	sender := newSender(t, broker.Brokers(), func(c *kafka.SenderConfig) {
		c.MetadataRefresh = 10 * time.Millisecond
		c.BatchRecords = 50
	})
	sink := newSink(t)
	// A key's batch is handed over only after its predecessor's verdict where the growth falls between:
	// whatever is still to come is reported after what went to the old partition.
	reported := map[string][]int64{}
	sink.onReport = func(records []*delivery.Record, _ delivery.Verdict) {
		for _, record := range records {
			reported[string(record.Key)] = append(reported[string(record.Key)], record.Ref)
		}
	}
	stream := sender.Stream(sink.config())
	all := keyed("orders", 0, n, 100)
	for i := 0; i < n; i += 100 {
		stream.Send(all[i : i+100])
		if i == n/4 {
			growTopic(t, broker, "orders", 7)
		}
		if i%1_000 == 0 {
			require.Eventually(t, func() bool { return sink.reported() > i-1_000 }, soon, time.Millisecond)
		}
	}
	sink.wait(n)
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: n}, sink.faults())
	for key, refs := range reported {
		require.IsIncreasing(t, refs, key)
	}
	used := map[int32]bool{}
	for _, record := range broker.Records(t, "orders") {
		used[record.Partition] = true
	}
	require.Len(t, used, 7, "the new partitions are used")
}

func growTopic(t *testing.T, broker *bustest.Broker, topic string, partitions int32) {
	t.Helper()
	settings, err := kafka.Config{Brokers: broker.Brokers()}.Sarama()
	require.NoError(t, err)
	admin, err := sarama.NewClusterAdmin(broker.Brokers(), settings)
	require.NoError(t, err)
	require.NoError(t, admin.CreatePartitions(topic, partitions, nil, false))
	require.NoError(t, admin.Close())
}

func TestCreateTopics(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t, bustest.KafkaBrokers(3))
	config := kafka.Config{Brokers: broker.Brokers()}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	orders := kafka.Topic{Name: "orders", TopicShape: kafka.TopicShape{
		Partitions: 4, ReplicationFactor: 1, Configs: map[string]string{"max.message.bytes": "3000"},
	}}
	audit := kafka.Topic{Name: "audit", TopicShape: kafka.TopicShape{Partitions: 2, ReplicationFactor: -1}}
	require.NoError(t, kafka.CreateTopics(ctx, config, orders, audit))
	require.NoError(t, kafka.CreateTopics(ctx, config, orders, audit), "what exists is fine")

	orders.Partitions = 9
	err := kafka.CreateTopics(ctx, config, audit, orders)
	var tooFew *kafka.TopicSizeError
	require.ErrorAs(t, err, &tooFew)
	require.Equal(t, kafka.TopicSizeError{Topic: "orders", Partitions: 4, Wanted: 9}, *tooFew)

	err = kafka.CreateTopics(ctx, config, kafka.Topic{Name: "a b"}, kafka.Topic{Name: "x", TopicShape: kafka.TopicShape{Partitions: 1}})
	require.ErrorIs(t, err, kafka.ErrConfig)
	require.ErrorContains(t, err, `topic "a b"`)
	require.ErrorContains(t, err, "topic x.ReplicationFactor")
}

func TestCreateTopicsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	topic := kafka.Topic{Name: "orders", TopicShape: kafka.TopicShape{Partitions: 1, ReplicationFactor: 1}}
	require.ErrorIs(t, kafka.CreateTopics(ctx, kafka.Config{Brokers: broker.Brokers()}, topic), context.DeadlineExceeded)
}
