package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// record is what is compared of a record.
type record struct{ key, id string }

// readTopic reads all that a topic has now, partition after partition.
func readTopic(ctx context.Context, cluster kafka.Config, topic string) (records []record, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	settings, err := cluster.Sarama()
	if err != nil {
		return nil, err
	}
	settings.Consumer.MaxWaitTime = 20 * time.Millisecond // at a partition's end, closing waits for a last fetch
	client, err := sarama.NewClient(cluster.Brokers, settings)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	partitions, err := client.Partitions(topic)
	if err != nil {
		return nil, err
	}
	for _, partition := range partitions {
		end, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
		if err != nil {
			return nil, err
		}
		if records, err = readPartition(ctx, consumer, topic, partition, end, records); err != nil {
			return nil, fmt.Errorf("read %s: %w", topic, err)
		}
	}
	return records, nil
}

func readPartition(ctx context.Context, consumer sarama.Consumer, topic string, partition int32, end int64, records []record) (_ []record, err error) {
	if end == 0 {
		return records, nil
	}
	from, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	for {
		select {
		case read, open := <-from.Messages():
			if !open {
				return nil, errors.New("the broker ended it")
			}
			r := record{key: string(read.Key)}
			for _, header := range read.Headers {
				if string(header.Key) == delivery.UUIDHeader {
					r.id = string(header.Value)
				}
			}
			if records = append(records, r); read.Offset == end-1 {
				return records, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
