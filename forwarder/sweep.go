package forwarder

import (
	"context"
	"errors"
	"slices"
	"time"
)

// sweep walks over the rows below the frontier, in bounded steps, and looks for pending ones: an
// operator's UPDATE, a replay, replication, ids that went backwards. What the gap list misses is late,
// never lost.
type sweep struct {
	running bool
	at, end int64
	rows    int // looked at in this interval, about
	next    time.Time
	// size is how many rows a step looks at while others wait for the reader.
	size int
	// demand is what the reader's demand was when this sweep began anew, urgent that it is unanswered.
	demand int64
	urgent bool
	// issued is the highest id given out, as of the last sweep.
	issued int64
}

const (
	// sweepStep rows are looked at by one statement, which takes about 5 ms.
	sweepStep = 10_000
	// sweepTakes is how long it may take while rows come, which wait for it, and sweepShare by how much
	// longer the reader then has to itself.
	sweepTakes, sweepShare = 2 * time.Millisecond, 10
	// smallSweepStep is worth a statement however long it takes.
	smallSweepStep = 500
	// sweepRows bounds an interval, so that a table of millions of kept rows costs no more than a small one.
	// The next interval goes on where this one stopped.
	sweepRows = 200_000
	// sweepPause spreads the steps.
	sweepPause = 50 * time.Millisecond
)

// errBackwards ends a session whose ids went backwards; the next one starts from where they are.
var errBackwards = errors.New("forwarder: the outbox's sequence went backwards (a restore, a failover or a crash under asynchronous commit): starting again from its present value")

func (r *reader) sweepOn(ctx context.Context, now time.Time) error {
	s := &r.sweep
	if demand := r.demand.Load(); demand != s.demand {
		*s = sweep{demand: demand, urgent: true, issued: s.issued, size: s.size}
	}
	if now.Before(s.next) {
		return nil
	}
	if !s.running {
		issued, err := r.claim.Issued(ctx)
		if err != nil {
			return err
		}
		if issued < s.issued {
			return errBackwards
		}
		s.running, s.rows, s.end, s.issued = true, 0, r.last, issued
	}
	step := sweepStep
	if now.Before(r.busyTill) {
		step = s.size
	}
	suspects, last, err := r.claim.Unsettled(ctx, s.at, s.end, step)
	if err != nil {
		return err
	}
	r.alive(now)
	s.at = last
	s.rows += step
	done := last >= s.end
	s.next = now.Add(s.pace(step, time.Since(now)))
	if s.urgent {
		s.next = now
	}
	f := found{}
	switch {
	case done:
		if s.urgent {
			f.swept = s.demand
		}
		*s = sweep{next: now.Add(r.config.SweepInterval), demand: s.demand, issued: s.issued, size: s.size}
	case s.rows >= sweepRows && !s.urgent:
		s.running, s.next = false, now.Add(r.config.SweepInterval)
	}
	f.suspects = slices.DeleteFunc(suspects, r.gaps.contains)
	if len(f.suspects) == 0 && f.swept == 0 {
		return nil
	}
	return r.hand(ctx, f)
}

// pace returns the pause after a step of so many rows that took so long, and sets how many the next looks at.
func (s *sweep) pace(step int, took time.Duration) time.Duration {
	if step == sweepStep && took < sweepTakes {
		return sweepPause
	}
	fit := int(float64(step) * float64(sweepTakes) / float64(max(took, time.Microsecond)))
	s.size = min(max(fit, smallSweepStep), 2*s.size, sweepStep)
	return min(sweepPause, sweepShare*took)
}
