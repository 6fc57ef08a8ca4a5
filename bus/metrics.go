package bus

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/internal/telemetry"
	"github.com/tailrace-go/tailrace/internal/telemetry/outcome"
)

// metrics are those of all Buses on one Registerer. A nil *metrics counts nothing.
type metrics struct {
	telemetry.Collectors
	topics  telemetry.Labels
	events  *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	perCall *prometheus.HistogramVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: telemetry.Namespace, Subsystem: "bus", Name: "events_total",
			Help: "Events given to a Bus, by outcome; ok through the outbox means written, committed or not.",
		}, []string{"topic", "kind", "way", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: telemetry.Namespace, Subsystem: "bus", Name: "publish_duration_seconds",
			Help: "Time of a publishing call, of one event or several.", Buckets: telemetry.DurationBuckets(),
		}, []string{"way", "outcome"}),
		perCall: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: telemetry.Namespace, Subsystem: "bus", Name: "publish_events",
			Help: "Events of a publishing call.", Buckets: telemetry.CountBuckets(),
		}, []string{"way"}),
	}
	m.Collectors = telemetry.Collectors{m.events, m.seconds, m.perCall}
	return telemetry.Register(registerer, m)
}

// now is when a call began, for those who count.
func (m *metrics) now() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Now()
}

// published counts a call and its events. All have the call's outcome, but for those that were sent directly
// before another topic's failed.
func (m *metrics) published(b *Bus, w *work, err error, began time.Time) {
	if m == nil {
		return
	}
	way, result := "direct", outcome.Of(err)
	if b.Outboxed() {
		way = "outbox"
	}
	m.seconds.WithLabelValues(way, result).Observe(time.Since(began).Seconds())
	count := max(len(w.events), len(w.topics))
	m.perCall.WithLabelValues(way).Observe(float64(count))
	for i := range count {
		topic, of := "", result
		if w.topics != nil {
			topic = w.topics[i]
		}
		if w.unsent != nil && !slices.Contains(w.unsent, topic) {
			of = outcome.OK
		}
		if topic != "" {
			topic = m.topics.Of(topic)
		}
		m.events.WithLabelValues(topic, w.kind(i), way, of).Inc()
	}
}

// kind is the label's value: that of an event, or message for one that came through Bus.Publisher.
func (w *work) kind(i int) string {
	switch {
	case w.foreign:
		return "message"
	case w.events[i] == nil:
		return ""
	}
	return w.events[i].Describe().Kind.String()
}
