package watermillsql

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/forwarder/internal/labels"
	"github.com/tailrace-go/tailrace/forwarder/internal/meters"
)

// metrics have the names of package forwarder's, so that a dashboard shows both.
type metrics struct {
	forwarded, retries, deaths                 *prometheus.CounterVec
	produceSeconds, batchEvents                prometheus.Histogram
	inFlight, waiting, paused, owning, pending prometheus.Gauge
	oldestSeconds                              prometheus.Gauge
	topics                                     *labels.Topics
}

func newMetrics(registerer prometheus.Registerer, table string) (*metrics, error) {
	set := meters.New(table)
	m := &metrics{
		forwarded:      set.CounterBy("topic", "events_total", "Events that the broker acknowledged, by destination topic."),
		retries:        set.CounterBy("topic", "retries_total", "Attempts counted against events, by destination topic."),
		deaths:         set.CounterBy("topic", "dead_events_total", "Events that spent their attempts and went to the dead-letter topic, by destination topic."),
		batchEvents:    set.Histogram("batch_events", "Events of a batch that the broker acknowledged.", prometheus.ExponentialBuckets(1, 4, 8)),
		produceSeconds: set.Histogram("produce_duration_seconds", "Time from a batch's first request to its acknowledgement, by the broker, resends included.", prometheus.ExponentialBuckets(0.0005, 2, 14)),
		inFlight:       set.Gauge("in_flight_rows", "Rows read and not recorded as delivered yet."),
		waiting:        set.Gauge("waiting_rows", "Rows that wait behind a refused event or a paused topic."),
		paused:         set.Gauge("paused_topics", "Topics that are unknown or not authorised."),
		owning:         set.Gauge("owner", "1 while this process forwards."),
		pending:        set.Gauge("pending_rows", "Rows behind the recorded position, every 5 seconds, up to 10,000."),
		oldestSeconds:  set.Gauge("oldest_pending_age_seconds", "Age, since created_at, of the first row behind the recorded position, every 5 seconds."),
		topics:         labels.New(),
	}
	if registerer == nil {
		return m, nil
	}
	if err := meters.Register(registerer, set.All()); err != nil {
		return nil, fmt.Errorf("watermillsql: could not register the metrics: give each Forwarder of one table a Registerer of its own: %w", err)
	}
	return m, nil
}

// label returns the topic's label value.
func (m *metrics) label(topic string) string {
	label, first := m.topics.Label(topic)
	if first {
		// At 0 from the start, so that a rate sees the first.
		m.retries.WithLabelValues(label)
		m.deaths.WithLabelValues(label)
	}
	return label
}

func (m *metrics) delivered(topic string, n int) {
	if n > 0 {
		m.forwarded.WithLabelValues(m.label(topic)).Add(float64(n))
	}
}

func (m *metrics) retried(topic string) { m.retries.WithLabelValues(m.label(topic)).Inc() }
func (m *metrics) dead(topic string)    { m.deaths.WithLabelValues(m.label(topic)).Inc() }

// batch counts an acknowledged batch.
func (m *metrics) batch(events int, sent time.Time) {
	m.batchEvents.Observe(float64(events))
	if !sent.IsZero() {
		m.produceSeconds.Observe(time.Since(sent).Seconds())
	}
}

func (m *metrics) state(flying, waiting, paused int) {
	m.inFlight.Set(float64(flying))
	m.waiting.Set(float64(waiting))
	m.paused.Set(float64(paused))
}

func (m *metrics) backlog(rows int64, oldest time.Duration) {
	m.pending.Set(float64(rows))
	m.oldestSeconds.Set(oldest.Seconds())
}

func (m *metrics) owner(is bool) {
	if is {
		m.owning.Set(1)
		return
	}
	m.owning.Set(0)
	m.state(0, 0, 0)
	m.backlog(0, 0)
}
