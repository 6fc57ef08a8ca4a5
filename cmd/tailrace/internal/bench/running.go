package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/forwarder"
)

// running is ours at work in a room, in this process.
type running struct {
	*room

	bench     *bench
	forwarder *forwarder.Forwarder
	acked     atomic.Int64
	metrics   *prometheus.Registry
	base      int // of what was written, how much was settled when it started
	stop      context.CancelFunc
	ended     chan error
}

// start has ours forward what is in the room, and what comes, until close.
func (b *bench) start(ctx context.Context, r *room) (*running, error) {
	w := &running{room: r, bench: b, base: r.settled, metrics: prometheus.NewRegistry(), ended: make(chan error, 1)}
	f, closeSender, err := r.forwarder(func(c *forwarder.Config) {
		c.Sender, c.Registerer = &countingSender{Sender: c.Sender, acked: &w.acked}, w.metrics
	})
	if err != nil {
		return nil, err
	}
	w.forwarder = f
	ctx, w.stop = context.WithCancel(ctx)
	go func() { w.ended <- errors.Join(f.Run(ctx), closeSender()) }()
	return w, nil
}

// own waits until ours owns the outbox.
func (w *running) own(ctx context.Context) error {
	return w.until(ctx, func() bool { return w.forwarder.Status().State == forwarder.Owner })
}

// settle waits until all that was written is acknowledged and settled.
func (w *running) settle(ctx context.Context) error {
	more := w.written - w.base
	err := w.until(ctx, func() bool {
		return int(w.acked.Load()) >= more && w.metric("settle_rows") >= float64(more)
	})
	if err != nil {
		return err
	}
	w.settled = w.written
	return nil
}

// metric is what a gauge of ours says, or the sum of a histogram's.
func (w *running) metric(name string) float64 {
	families, err := w.metrics.Gather()
	if err != nil {
		return 0
	}
	for _, family := range families {
		if metric := family.GetMetric()[0]; family.GetName() == "tailrace_forwarder_"+name {
			return metric.GetGauge().GetValue() + metric.GetHistogram().GetSampleSum()
		}
	}
	return 0
}

// patience is how long ours may be without any progress.
const patience = time.Minute

// until waits for a state of ours.
func (w *running) until(ctx context.Context, reached func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	progress, since := w.acked.Load(), time.Now()
	for !reached() {
		select {
		case <-tick.C:
		case err := <-w.ended:
			w.ended <- nil
			return errors.Join(errors.New("the forwarder ended by itself"), err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if acked := w.acked.Load(); acked != progress {
			progress, since = acked, time.Now()
		} else if time.Since(since) > patience {
			return fmt.Errorf("the forwarder has done nothing for %v, with %d of %d events in Kafka: %s", patience, w.base+int(acked), w.written, w.forwarder.Status())
		}
	}
	return nil
}

// burst commits n rows at once and times ours until they are settled. What before does happens at that
// moment; nil is nothing.
func (w *running) burst(ctx context.Context, n int, before func() error) (cost, error) {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return cost{}, err
	}
	defer func() { _ = tx.Rollback() }()
	if err := w.add(ctx, tx, n); err != nil {
		return cost{}, err
	}
	return w.bench.ours(func() error {
		if before != nil {
			if err := before(); err != nil {
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		return w.settle(ctx)
	})
}

// close stops ours, and makes sure that all was forwarded, and once.
func (w *running) close(ctx context.Context) error {
	w.stop()
	if err := <-w.ended; err != nil {
		return err
	}
	return w.whole(ctx, w.written)
}

// countingSender counts the records that the broker acknowledged.
type countingSender struct {
	delivery.Sender

	acked *atomic.Int64
}

func (s *countingSender) Stream(config delivery.StreamConfig) delivery.Stream {
	report := config.Report
	config.Report = func(records []*delivery.Record, verdict delivery.Verdict) {
		if verdict.Fault == delivery.Delivered {
			s.acked.Add(int64(len(records)))
		}
		report(records, verdict)
	}
	return s.Sender.Stream(config)
}
