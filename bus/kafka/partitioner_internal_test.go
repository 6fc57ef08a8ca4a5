package kafka

import (
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSaramaHash(t *testing.T) {
	t.Parallel()
	theirs := sarama.NewHashPartitioner("topic")
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "key")
		partitions := rapid.Int32Range(1, 1_000).Draw(t, "partitions")
		want, err := theirs.Partition(&sarama.ProducerMessage{Key: sarama.ByteEncoder(key)}, partitions)
		require.NoError(t, err)
		require.Equal(t, want, keyPartition(saramaHash(key), partitions))
	})
}
