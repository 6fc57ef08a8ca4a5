package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/tailrace-go/tailrace/bus/kafka"
)

// createTopics makes topics, and waits until they can be written to.
func (r *room) createTopics(ctx context.Context, names []string) error {
	shape := kafka.TopicShape{Partitions: r.partitions(), ReplicationFactor: -1}
	var topics []kafka.Topic
	for _, name := range names {
		topics = append(topics, kafka.Topic{Name: name, TopicShape: shape})
	}
	if err := kafka.CreateTopics(ctx, r.cluster, topics...); err != nil {
		return err
	}
	return r.ready(ctx)
}

// ready waits until the topics' leaders know that they are: Apache Kafka tells of them before. The loop would
// end, and the others lose time.
func (r *room) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cleanup)
	defer cancel()
	for {
		_, err := r.arrived()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// arrived is how many records the topics hold.
func (r *room) arrived() (n int64, err error) {
	config, err := r.cluster.Sarama()
	if err != nil {
		return 0, err
	}
	client, err := sarama.NewClient(r.cluster.Brokers, config)
	if err != nil {
		return 0, fmt.Errorf("%w", err)
	}
	defer func() { _ = client.Close() }()
	requests := map[*sarama.Broker]*sarama.OffsetRequest{}
	for _, topic := range r.topics {
		for partition := range r.partitions() {
			leader, err := client.Leader(topic, partition)
			if err != nil {
				return 0, fmt.Errorf("ask Kafka how much it has: %w", err)
			}
			if requests[leader] == nil {
				requests[leader] = sarama.NewOffsetRequest(config.Version)
			}
			requests[leader].AddBlock(topic, partition, sarama.OffsetNewest, 1)
		}
	}
	for leader, request := range requests {
		response, err := leader.GetAvailableOffsets(request)
		if err != nil {
			return 0, fmt.Errorf("ask Kafka how much it has: %w", err)
		}
		for _, blocks := range response.Blocks {
			for _, block := range blocks {
				if block.Err != sarama.ErrNoError {
					return 0, fmt.Errorf("ask Kafka how much it has: %w", block.Err)
				}
				n += block.Offset
			}
		}
	}
	return n, nil
}

// deleteTopics deletes them by one request.
func (r *room) deleteTopics(ctx context.Context) error {
	config, err := r.cluster.Sarama()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- deleteTopics(r.cluster.Brokers, config, r.topics) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func deleteTopics(brokers []string, config *sarama.Config, names []string) error {
	client, err := sarama.NewClient(brokers, config)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	controller, err := client.Controller()
	if err != nil {
		return err
	}
	response, err := controller.DeleteTopics(sarama.NewDeleteTopicsRequest(config.Version, names, cleanup))
	if err != nil {
		return err
	}
	for name, code := range response.TopicErrorCodes {
		if code != sarama.ErrNoError && code != sarama.ErrUnknownTopicOrPartition {
			return fmt.Errorf("%s: %w", name, code)
		}
	}
	return nil
}
