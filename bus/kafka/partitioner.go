package kafka

import (
	"math"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// PartitionFor returns the partition of a key as Kafka's Java client computes it: the positive part of
// murmur2 modulo the number of partitions. A nil key has no partition of its own and gives -1, as does a
// topic without partitions. An empty key is a key like any other.
func PartitionFor(key []byte, partitions int32) int32 {
	if key == nil || partitions <= 0 {
		return -1
	}
	return keyPartition(javaHash(key), partitions)
}

// Partitioner names how a key picks its partition. One topic should have one: a key that moves to another
// partition is not in order with what it left behind.
type Partitioner = delivery.Partitioner

// The partitioners. The zero value means [Murmur2].
const (
	// Murmur2 is that of Kafka's Java client and of the clients in its likeness (see [PartitionFor]).
	Murmur2 = delivery.Murmur2
	// FNV1a is sarama's default, and with it that of watermill-kafka's publisher.
	FNV1a = delivery.FNV1a
)

// partitioners have the function whose result, modulo the number of partitions, is the partition.
var partitioners = map[Partitioner]func([]byte) uint32{Murmur2: javaHash, FNV1a: saramaHash}

// routed is the partition of a key about which a route says more than the hash of the sender's own
// partitioner.
func routed(key []byte, route delivery.Route, own uint32, partitions int32) int32 {
	if hash := partitioners[route.Partitioner]; hash != nil {
		return keyPartition(hash(key), partitions)
	}
	home := keyPartition(own, partitions)
	for _, hash := range partitioners {
		if home != route.Seen && keyPartition(hash(key), partitions) == route.Seen {
			return route.Seen
		}
	}
	return home
}

func keyPartition(hash uint32, partitions int32) int32 {
	return int32(hash % uint32(partitions)) //nolint:gosec // below the number of partitions
}

// javaHash is the positive part of murmur2.
func javaHash(key []byte) uint32 { return murmur2(key) & 0x7fffffff }

// saramaHash is the absolute value of 32-bit FNV-1a taken as a signed number.
func saramaHash(key []byte) uint32 {
	hash := uint32(2166136261)
	for _, b := range key {
		hash = (hash ^ uint32(b)) * 16777619
	}
	if hash > math.MaxInt32 {
		return -hash
	}
	return hash
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
