package delivery

// Partitioner names how a key picks its partition. One topic should have one: a key that moves to another
// partition is not in order with what it left behind.
type Partitioner string

const (
	// Murmur2 is that of Kafka's Java client and of the clients in its likeness.
	Murmur2 Partitioner = "murmur2"
	// FNV1a is sarama's default, and with it that of watermill-kafka's publisher.
	FNV1a Partitioner = "fnv1a"
)

// Route says what is known of the partition of a record's key, for a sender that has sent none of the
// topic's other records.
type Route struct {
	// Partitioner is how the topic's keys pick their partitions, "" for not known.
	Partitioner Partitioner
	// Seen is the partition that has an earlier record of the key, -1 for not known. If the sender's own
	// partitioner does not put the key there and another one does, that one is taken for the topic's.
	Seen int32
}
