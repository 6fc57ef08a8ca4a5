package demo

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/internal/embedded/kafka"
)

// readBack tells the ledger every record that the topics hold, in the order of each partition: what is
// in Kafka is what was forwarded, whatever the forwarder believes.
func readBack(ctx context.Context, cluster *kafka.Cluster, ledger *Ledger, topics ...string) error {
	client, err := cluster.Client(kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer client.Close()
	offsets, err := kadm.NewClient(client).ListEndOffsets(ctx, topics...)
	if err != nil {
		return fmt.Errorf("demo: ask Kafka how much it has: %w", err)
	}
	missing := int64(0)
	offsets.Each(func(offset kadm.ListedOffset) { missing += offset.Offset })
	for missing > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("demo: read back from Kafka: %w", err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			missing--
			event := Event{Topic: record.Topic, Key: string(record.Key)}
			for _, header := range record.Headers {
				if header.Key == delivery.UUIDHeader {
					event.ID = string(header.Value)
				}
			}
			ledger.Forwarded(event)
		})
	}
	return nil
}
