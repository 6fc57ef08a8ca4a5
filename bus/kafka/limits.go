package kafka

import (
	"strconv"
	"time"

	"github.com/IBM/sarama"
)

const (
	maxMessageBytes = "max.message.bytes"
	// assumedLimit bounds batches of a topic whose limit is not known, below Kafka's default of 1,048,588.
	assumedLimit = 1_000_000
	limitPause   = time.Second
)

// batchBytes is what the topic takes as one batch.
func (t *topic) batchBytes() int {
	limit := assumedLimit
	if t.limit > 0 {
		limit = t.limit
	}
	if t.guess > 0 {
		return min(limit, t.guess)
	}
	return limit
}

// shrink: the topic does not take a batch this large. Until its limit is read, which may not be allowed,
// half of that has to do. s.mu is held.
func (s *Sender) shrink(t *topic, b *batch) {
	if len(b.records) > 1 {
		t.guess = b.size / 2
	}
	s.askLimit(t)
}

// askLimit makes the topic's limit due; it is asked for once in limitPause at most. s.mu is held.
func (s *Sender) askLimit(t *topic) {
	t.limitDue = true
	s.wakeControl()
}

// askLimits reads max.message.bytes. A client that may not describe topics does without.
func (s *Sender) askLimits(conn *sarama.Broker, names []string) error {
	request := &sarama.DescribeConfigsRequest{Version: 1}
	for _, name := range names {
		request.Resources = append(request.Resources, &sarama.ConfigResource{
			Type: sarama.TopicResource, Name: name, ConfigNames: []string{maxMessageBytes},
		})
	}
	response, err := conn.DescribeConfigs(request)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if t := s.topics[name]; t != nil {
			t.limitDue, t.limitAsked = false, time.Now()
		}
	}
	if err != nil {
		return connError{err}
	}
	for _, resource := range response.Resources {
		t := s.topics[resource.Name]
		if t == nil || resource.ErrorCode != int16(sarama.ErrNoError) {
			continue
		}
		for _, config := range resource.Configs {
			if limit, err := strconv.Atoi(config.Value); err == nil && config.Name == maxMessageBytes && limit > 0 {
				t.limit, t.guess = limit, 0
			}
		}
	}
	return nil
}
