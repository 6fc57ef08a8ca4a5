// Package kafka carries records to Kafka in order and fast, and brings them back as Watermill messages.
//
// # Sending
//
// A [Sender] opens streams of records ([delivery.Stream]). What it promises:
//
//   - At least once, in order within (topic, key). Acks are those of all in-sync replicas, and every
//     batch is idempotent (KIP-98): a resend of a batch that had been appended is recognised by the broker.
//   - One batch per partition is in flight. Behind a record that was refused none of its key is sent.
//   - A broker that is away is never a record's fault. The batch whose outcome is not known is sent
//     again, unchanged, until its outcome is known or its stream is closed.
//   - A batch that is refused is halved until one record is guilty; only that one is refused.
//   - A topic that is unknown or forbidden holds up no other topic.
//   - Topics are made only when asked ([SenderConfig.AutoCreate], [CreateTopics]), never by the broker.
//
// The partition of a key is that of Kafka's Java client: murmur2 ([PartitionFor]), unless
// another is asked for ([SenderConfig.Partitioner]).
//
// A [Publisher] publishes Watermill messages over a Sender and waits for their verdicts.
//
// # Receiving
//
// [NewSubscriber] is watermill-kafka's subscriber with these settings. A consumer group that is new starts
// at the oldest record, and a record's key comes back as the metadata [delivery.KeyMetadata].
package kafka
