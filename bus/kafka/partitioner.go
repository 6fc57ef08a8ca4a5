package kafka

// PartitionFor returns the partition of a key as Kafka's Java client computes it: the positive part of
// murmur2 modulo the number of partitions. A nil key has no partition of its own and gives -1, as does a
// topic without partitions. An empty key is a key like any other.
func PartitionFor(key []byte, partitions int32) int32 {
	if key == nil || partitions <= 0 {
		return -1
	}
	return keyPartition(murmur2(key), partitions)
}

func keyPartition(hash uint32, partitions int32) int32 {
	return int32(hash&0x7fffffff) % partitions
}

// murmur2 is org.apache.kafka.common.utils.Utils.murmur2.
func murmur2(data []byte) uint32 {
	const (
		seed uint32 = 0x9747b28c
		m    uint32 = 0x5bd1e995
		r           = 24
	)
	h := seed ^ uint32(len(data)) //nolint:gosec // as Java's int length
	for ; len(data) >= 4; data = data[4:] {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
