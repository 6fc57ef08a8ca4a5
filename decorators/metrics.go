package decorators

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// metrics count what should not happen. Their labels are of specs, which are as many as the program has.
type metrics struct{ unpublished, incomplete *prometheus.CounterVec }

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: telemetry.Namespace, Subsystem: "decorators", Name: name, Help: help,
		}, labels)
	}
	m := &metrics{
		unpublished: counter("unpublished_events_total", "Events of calls that could not be published.", "kind", "event_type"),
		incomplete:  counter("incomplete_events_total", "Events of calls without their id, args or result.", "kind", "event_type", "missing"),
	}
	if registerer == nil {
		return m, nil
	}
	var err error
	if m.unpublished, err = telemetry.Register(registerer, m.unpublished); err != nil {
		return nil, err
	}
	m.incomplete, err = telemetry.Register(registerer, m.incomplete)
	return m, err
}
