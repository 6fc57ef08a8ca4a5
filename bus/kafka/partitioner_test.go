package kafka_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// TestPartitionForAsJava compares with what Java's client computed.
func TestPartitionForAsJava(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/murmur2.txt")
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	n := 0
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		var text string
		var hash, of6, of50 int32
		_, err := fmt.Sscan(lines.Text(), &text, &hash, &of6, &of50)
		require.NoError(t, err)
		key := []byte{}
		if text != "-" {
			key, err = hex.DecodeString(text)
			require.NoError(t, err)
		}
		require.Equal(t, of6, kafka.PartitionFor(key, 6), "%s of 6", text)
		require.Equal(t, of50, kafka.PartitionFor(key, 50), "%s of 50", text)
		// Modulo the largest number the partition is the hash itself.
		require.Equal(t, (hash&0x7fffffff)%(1<<31-1), kafka.PartitionFor(key, 1<<31-1), text)
		n++
	}
	require.NoError(t, lines.Err())
	require.Equal(t, 200, n)
}

func TestPartitionForAsSarama(t *testing.T) {
	t.Parallel()
	sarama2 := sarama.NewMurmur2Partitioner("topic")
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "key")
		partitions := rapid.Int32Range(1, 1_000).Draw(t, "partitions")
		want, err := sarama2.Partition(&sarama.ProducerMessage{Key: sarama.ByteEncoder(key)}, partitions)
		require.NoError(t, err)
		require.Equal(t, want, kafka.PartitionFor(key, partitions))
	})
}

func TestPartitionForNoKey(t *testing.T) {
	t.Parallel()
	require.Equal(t, int32(-1), kafka.PartitionFor(nil, 6))
	require.Equal(t, int32(-1), kafka.PartitionFor([]byte("a"), 0))
	require.Equal(t, int32(3), kafka.PartitionFor([]byte{}, 6), "the empty key is a key")
}

// TestPartitionerAsSaramasDefault: what watermill-kafka's publisher has sent to a partition, and what follows, share it.
func TestPartitionerAsSaramasDefault(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	const partitions = 7
	broker.CreateTopic(t, "orders", partitions, nil)
	sender, err := kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}, Partitioner: kafka.FNV1a})
	require.NoError(t, err)
	defer func() { require.NoError(t, sender.Close()) }()
	keys := [][]byte{{}, []byte("k16")}
	for i := range 500 {
		keys = append(keys, fmt.Appendf(nil, "order-%d", i))
	}
	records := make([]*delivery.Record, len(keys))
	for i, key := range keys {
		records[i] = &delivery.Record{Topic: "orders", Key: key, Value: []byte("x"), Ref: int64(i)}
	}
	stream := sender.Stream(delivery.StreamConfig{Report: func([]*delivery.Record, delivery.Verdict) {}})
	defer stream.Close()
	stream.Send(records)

	theirs := sarama.NewHashPartitioner("orders")
	differ := 0
	for _, record := range broker.WaitRecords(t, "orders", len(keys), soon) {
		want, err := theirs.Partition(&sarama.ProducerMessage{Key: sarama.ByteEncoder(record.Key)}, partitions)
		require.NoError(t, err)
		require.Equal(t, want, record.Partition, "%q", record.Key)
		if want != kafka.PartitionFor(record.Key, partitions) {
			differ++
		}
	}
	require.Positive(t, differ, "murmur2 would do as well")
	_, err = kafka.NewSender(kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}, Partitioner: "crc32"})
	require.ErrorIs(t, err, kafka.ErrConfig)
	require.ErrorContains(t, err, "crc32")
}
