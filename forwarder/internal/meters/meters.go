// Package meters makes a forwarder's metrics: tailrace_forwarder_… with the label outbox.
package meters

import "github.com/prometheus/client_golang/prometheus"

// Set is the metrics of one outbox.
type Set struct {
	outbox prometheus.Labels
	all    []prometheus.Collector
}

// New returns an empty set for what the label outbox calls it.
func New(outbox string) *Set { return &Set{outbox: prometheus.Labels{"outbox": outbox}} }

// All are those made so far.
func (s *Set) All() []prometheus.Collector { return s.all }

// Counter makes a counter.
func (s *Set) Counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts(s.options(name, help)))
	s.all = append(s.all, c)
	return c
}

// CounterBy makes a counter with one more label.
func (s *Set) CounterBy(label, name, help string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts(s.options(name, help)), []string{label})
	s.all = append(s.all, c)
	return c
}

// Gauge makes a gauge.
func (s *Set) Gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts(s.options(name, help)))
	s.all = append(s.all, g)
	return g
}

// Histogram makes a histogram.
func (s *Set) Histogram(name, help string, buckets []float64) prometheus.Histogram {
	o := s.options(name, help)
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: o.Namespace, Subsystem: o.Subsystem, Name: o.Name, Help: o.Help, ConstLabels: o.ConstLabels, Buckets: buckets,
	})
	s.all = append(s.all, h)
	return h
}

func (s *Set) options(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: "tailrace", Subsystem: "forwarder", Name: name, Help: help, ConstLabels: s.outbox}
}

// Register registers all of them or, with an error, none.
func Register(registerer prometheus.Registerer, all []prometheus.Collector) error {
	for i, c := range all {
		if err := registerer.Register(c); err != nil {
			Unregister(registerer, all[:i])
			return err
		}
	}
	return nil
}

// Unregister takes them back.
func Unregister(registerer prometheus.Registerer, all []prometheus.Collector) {
	for _, c := range all {
		registerer.Unregister(c)
	}
}
