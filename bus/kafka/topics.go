package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// TopicShape is how a topic is made.
type TopicShape struct {
	// Partitions of the topic, at least 1. Keys move when it grows, so start with enough.
	Partitions int32
	// ReplicationFactor, at least 1, or -1 for the broker's default; production wants 3.
	ReplicationFactor int16
	// Configs are the topic's own settings, such as "retention.ms" or "max.message.bytes".
	Configs map[string]string
}

func (t TopicShape) faults(name string) []error {
	var errs []error
	if t.Partitions < 1 {
		errs = append(errs, configError("%s.Partitions is %d; it must be at least 1", name, t.Partitions))
	}
	if t.ReplicationFactor < 1 && t.ReplicationFactor != -1 {
		errs = append(errs, configError("%s.ReplicationFactor is %d; it must be at least 1, or -1 for the broker's default", name, t.ReplicationFactor))
	}
	return errs
}

func (t TopicShape) detail() *sarama.TopicDetail {
	detail := &sarama.TopicDetail{
		NumPartitions:     t.Partitions,
		ReplicationFactor: t.ReplicationFactor,
		ConfigEntries:     map[string]*string{},
	}
	for name, value := range maps.All(t.Configs) {
		detail.ConfigEntries[name] = &value
	}
	return detail
}

// Topic is a topic to be made by [CreateTopics].
type Topic struct {
	Name string
	TopicShape
}

// TopicSizeError says that a topic exists with fewer partitions than asked for.
type TopicSizeError struct {
	Topic      string
	Partitions int32 // it has
	Wanted     int32
}

func (e *TopicSizeError) Error() string {
	return fmt.Sprintf("kafka: topic %q has %d partitions, fewer than the %d asked for; add partitions while nothing is published, since keys move",
		e.Topic, e.Partitions, e.Wanted)
}

// CreateTopics makes the topics that do not exist yet and returns once every one has its partitions and
// their leaders. A topic that exists is left as it is; with fewer partitions than asked for, that is a
// [*TopicSizeError]. What went wrong with each topic is joined into one error. It takes until ctx ends at
// most, which is then found by errors.Is.
func CreateTopics(ctx context.Context, config Config, topics ...Topic) error {
	settings, err := config.Sarama()
	if err != nil {
		return err
	}
	var errs []error
	for _, topic := range topics {
		errs = append(errs, topic.faults("topic "+topic.Name)...)
		if err := legalTopic(topic.Name); err != nil {
			errs = append(errs, configError("topic %q: %w", topic.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	dialer := newDialer(ctx, settings)
	defer dialer.close()
	defer context.AfterFunc(ctx, dialer.close)()

	admin, err := sarama.NewClusterAdmin(config.Brokers, settings)
	if err != nil {
		return errors.Join(fmt.Errorf("kafka: creating topics: %w", err), ctx.Err())
	}
	defer func() { _ = admin.Close() }()
	for _, topic := range topics {
		if err := createTopic(ctx, admin, topic); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}

func createTopic(ctx context.Context, admin sarama.ClusterAdmin, topic Topic) error {
	var answer *sarama.TopicError
	err := admin.CreateTopic(topic.Name, topic.detail(), false)
	if err != nil && (!errors.As(err, &answer) || classifyCreate(answer.Err) != topicUsable) {
		return fmt.Errorf("kafka: creating topic %q: %w", topic.Name, err)
	}
	created := err == nil
	for {
		metadata, err := admin.DescribeTopics([]string{topic.Name})
		if err == nil && len(metadata) == 1 && metadata[0].Err == sarama.ErrNoError {
			partitions := metadata[0].Partitions
			n := int32(len(partitions)) //nolint:gosec // a partition count
			if n < topic.Partitions && !created {
				return &TopicSizeError{Topic: topic.Name, Partitions: n, Wanted: topic.Partitions}
			}
			if n >= topic.Partitions && !slices.ContainsFunc(partitions, func(p *sarama.PartitionMetadata) bool { return p.Leader < 0 }) {
				return nil
			}
		}
		select {
		case <-time.After(metadataPause):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("kafka: topic %q was created but is not ready: %w", topic.Name, ctx.Err()), err)
		}
	}
}
