package telemetry

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Namespace is that of all metrics.
const Namespace = "tailrace"

// DurationBuckets go from 0.1 ms to 13 s, in seconds: a publish to an outbox takes less than one, a
// broker's election of a leader several.
func DurationBuckets() []float64 { return prometheus.ExponentialBuckets(0.0001, 2, 18) }

// CountBuckets are for how many of something, from 1 to 16,384.
func CountBuckets() []float64 { return prometheus.ExponentialBuckets(1, 4, 8) }

// Register registers a collector, or returns the one like it that is registered already, so that two users
// of one Registerer count together, under one bound of their labels.
func Register[C prometheus.Collector](registerer prometheus.Registerer, collector C) (C, error) {
	err := registerer.Register(collector)
	if err == nil {
		return collector, nil
	}
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, same := already.ExistingCollector.(C); same {
			return existing, nil
		}
	}
	return collector, fmt.Errorf("another metric has the name: give a Registerer of its own, or prometheus.WrapRegistererWithPrefix: %w", err)
}

// Collectors are registered, and collected, as one.
type Collectors []prometheus.Collector

// Describe implements [prometheus.Collector].
func (c Collectors) Describe(descriptions chan<- *prometheus.Desc) {
	for _, each := range c {
		each.Describe(descriptions)
	}
}

// Collect implements [prometheus.Collector].
func (c Collectors) Collect(metrics chan<- prometheus.Metric) {
	for _, each := range c {
		each.Collect(metrics)
	}
}
