package decorators

import (
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/internal/telemetry"
	"github.com/tailrace-go/tailrace/internal/telemetry/outcome"
)

// PublisherMetrics counts what is published, on registerer:
//
//	tailrace_publisher_messages_total{topic,outcome}             messages given to the publisher
//	tailrace_publisher_publish_duration_seconds{topic,outcome}   histogram of a call's time
//
// The outcome is ok, invalid, duplicate, canceled, timeout or error; all messages of a call have the call's,
// also where the publisher had delivered some of them before it failed. After 200 topics the rest are
// counted as "other". Decorated publishers on one Registerer count together; to tell
// them apart, give each a prometheus.WrapRegistererWith.
func PublisherMetrics(registerer prometheus.Registerer) message.PublisherDecorator {
	return func(next message.Publisher) (message.Publisher, error) {
		if registerer == nil {
			return nil, errors.New("decorators: PublisherMetrics has no Registerer to count on: give prometheus.DefaultRegisterer or one of your own")
		}
		m, err := newPublisherMetrics(registerer)
		if err != nil {
			return nil, err
		}
		return decorate(next, m.publish)
	}
}

// publisherMetrics are those of all publishers on one Registerer.
type publisherMetrics struct {
	telemetry.Collectors
	topics   telemetry.Labels
	messages *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newPublisherMetrics(registerer prometheus.Registerer) (*publisherMetrics, error) {
	m := &publisherMetrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: telemetry.Namespace, Subsystem: "publisher", Name: "messages_total",
			Help: "Messages given to a decorated publisher, by outcome.",
		}, []string{"topic", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: telemetry.Namespace, Subsystem: "publisher", Name: "publish_duration_seconds",
			Help: "Time of a call of a decorated publisher, of one message or several.", Buckets: telemetry.DurationBuckets(),
		}, []string{"topic", "outcome"}),
	}
	m.Collectors = telemetry.Collectors{m.messages, m.seconds}
	return telemetry.Register(registerer, m)
}

func (m *publisherMetrics) publish(next message.Publisher, topic string, msgs []*message.Message) error {
	began := time.Now()
	err := next.Publish(topic, msgs...)
	took, label, result := time.Since(began), m.topics.Of(topic), outcome.Of(err)
	m.messages.WithLabelValues(label, result).Add(float64(len(msgs)))
	m.seconds.WithLabelValues(label, result).Observe(took.Seconds())
	return err
}
