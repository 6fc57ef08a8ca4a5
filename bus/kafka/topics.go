package kafka

import (
	"fmt"
	"maps"

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
