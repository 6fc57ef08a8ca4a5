package outbox

import "hash/fnv"

// ShardOf returns which of so many shards has the events of a record key: 0 to shards-1. It is jump
// consistent hashing (Lamping and Veach, 2014) of the key's 64-bit FNV-1a, and stays so for ever: with one
// shard more, a key stays where it is or moves to the new one.
func ShardOf(key []byte, shards int) int { return jump(keyHash(key), shards) }

func keyHash(key []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(key)
	return h.Sum64()
}

// jump is the paper's, word for word.
func jump(key uint64, buckets int) int {
	b, j := int64(0), int64(0)
	for j < int64(buckets) {
		b = j
		key = key*2862933555777941757 + 1
		j = int64(float64(b+1) * (float64(int64(1)<<31) / float64((key>>33)+1)))
	}
	return int(b)
}

// moves reports whether a key is in a shard when that one is the newest. No other key ever comes to it: when
// more are added, keys stay or move to those.
func moves(key []byte, shard int) bool { return ShardOf(key, shard+1) == shard }
