package forwarder

import (
	"context"
	"sync"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// sampleEvery is how often the database is asked how much waits, whatever scrapes the metrics how often.
const sampleEvery = 5 * time.Second

// sampler measures the backlog: what the session has in hand, and what the database has behind that.
type sampler struct {
	store   backlogs
	metrics *metrics
	asked   chan inHand
}

type backlogs interface {
	Backlog(ctx context.Context, above, inHand int64) (outbox.Backlog, error)
}

// inHand is what the session knows itself.
type inHand struct {
	rows int
	// oldest is the lowest id of them, 0 for none; last the highest that was read.
	oldest, last int64
}

func newSampler(store backlogs, m *metrics) *sampler {
	return &sampler{store: store, metrics: m, asked: make(chan inHand, 1)}
}

// start measures until ctx ends or stop is called. The nil sampler does nothing.
func (s *sampler) start(ctx context.Context) (stop func()) {
	if s == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	return func() { cancel(); running.Wait() }
}

func (s *sampler) run(ctx context.Context) {
	var last outbox.Backlog
	var at time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case have := <-s.asked:
			asking, cancel := context.WithTimeout(ctx, sampleEvery)
			found, err := s.store.Backlog(asking, have.last, have.oldest)
			cancel()
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				found.Pending += int64(have.rows)
				last, at = found, time.Now()
				s.metrics.backlog(found.Pending, found.Oldest)
			case last.Pending > 0:
				// The database is away, which others tell. What waits grows older meanwhile.
				s.metrics.backlog(last.Pending, last.Oldest+time.Since(at))
			}
		}
	}
}

// sample has the backlog measured when it is time.
func (s *session) sample(waiting int) {
	now := time.Now()
	if s.sampler == nil || now.Before(s.sampleAt) {
		return
	}
	select {
	case s.sampler.asked <- inHand{rows: s.flying + waiting, oldest: s.oldestPending(), last: s.last}:
		s.sampleAt = now.Add(sampleEvery)
	default: // the database takes its time
	}
}

// oldestPending is the lowest id in hand that is not settled, 0 for none.
func (s *session) oldestPending() int64 {
	low := s.held.oldest
	for _, c := range s.chunks {
		for i := range c.entries {
			if e := &c.entries[i]; !e.done {
				if low == 0 || e.id < low {
					low = e.id
				}
				break
			}
		}
	}
	return low
}
