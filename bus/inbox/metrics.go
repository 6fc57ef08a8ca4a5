package inbox

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// metrics are the inbox's, named by the Prometheus conventions. Consumers are named by code, so that
// their label is bounded.
type metrics struct {
	duplicates *prometheus.CounterVec
	purged     prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer, table string) (*metrics, error) {
	options := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{
			Namespace: "tailrace", Subsystem: "inbox", Name: name, Help: help,
			ConstLabels: prometheus.Labels{"inbox": table},
		}
	}
	m := &metrics{
		duplicates: prometheus.NewCounterVec(options("duplicates_total",
			"Deliveries of events that the consumer had handled before, and that were skipped."), []string{"consumer"}),
		purged: prometheus.NewCounter(options("purged_rows_total", "Marks deleted after the retention.")),
	}
	if registerer == nil {
		return m, nil
	}
	var faults [2]error
	m.duplicates, faults[0] = telemetry.Register(registerer, m.duplicates)
	m.purged, faults[1] = telemetry.Register(registerer, m.purged)
	if err := errors.Join(faults[:]...); err != nil {
		return nil, fmt.Errorf("inbox: register the metrics: %w", err)
	}
	return m, nil
}
