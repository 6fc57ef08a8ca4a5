package bustest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

func newSaramaConfig() *sarama.Config {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_8_0_0
	cfg.Producer.Return.Successes = true
	cfg.Producer.RequiredAcks = sarama.WaitForAll
	cfg.Producer.Retry.Max = 0
	cfg.Producer.Partitioner = sarama.NewManualPartitioner
	cfg.Metadata.Retry.Max = 0
	cfg.Metadata.Full = false
	cfg.Net.ReadTimeout = time.Second
	return cfg
}

// newProducer returns a sarama producer that waits for every answer and does not retry.
func newProducer(t testing.TB, broker *bustest.Broker) sarama.SyncProducer {
	t.Helper()
	producer, err := sarama.NewSyncProducer(broker.Brokers(), newSaramaConfig())
	require.NoError(t, err)
	t.Cleanup(func() { _ = producer.Close() })
	return producer
}

func record(topic string, partition int32, key sarama.Encoder, value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{
		Topic: topic, Partition: partition, Key: key, Value: sarama.StringEncoder(value),
		Headers: []sarama.RecordHeader{{Key: []byte("name"), Value: []byte(value)}},
	}
}

func TestRecordsTellANullKeyFromAnEmptyOne(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 3, nil)
	require.Empty(t, broker.Records(t, "orders"))
	producer := newProducer(t, broker)
	for i, key := range []sarama.Encoder{nil, sarama.StringEncoder(""), sarama.StringEncoder("k")} {
		_, _, err := producer.SendMessage(record("orders", int32(i), key, fmt.Sprint(i)))
		require.NoError(t, err)
	}
	records := broker.Records(t, "orders")
	require.Len(t, records, 3)
	require.Nil(t, records[0].Key)
	require.NotNil(t, records[1].Key)
	require.Empty(t, records[1].Key)
	require.Equal(t, []byte("k"), records[2].Key)
	name, ok := records[2].Header("name")
	require.True(t, ok)
	require.Equal(t, "2", name)
}

func TestKafkaRestartKeepsAddressAndData(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	producer := newProducer(t, broker)
	_, _, err := producer.SendMessage(record("orders", 0, nil, "before"))
	require.NoError(t, err)
	addresses := broker.Brokers()

	broker.Stop()
	_, _, err = producer.SendMessage(record("orders", 0, nil, "meanwhile"))
	require.Error(t, err)

	broker.Restart(t)
	require.Equal(t, addresses, broker.Brokers())
	_, _, err = newProducer(t, broker).SendMessage(record("orders", 0, nil, "after"))
	require.NoError(t, err)
	records := broker.WaitRecords(t, "orders", 2, 10*time.Second)
	require.Len(t, records, 2)
	require.Equal(t, "before", string(records[0].Value))
	require.Equal(t, "after", string(records[1].Value))
}
