package inbox

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
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
	if err := errors.Join(registerer.Register(m.duplicates), registerer.Register(m.purged)); err != nil {
		return nil, errors.Join(errors.New("inbox: could not register the metrics: use one Inbox for all consumers of a table, or give each a Registerer of its own"), err)
	}
	return m, nil
}
