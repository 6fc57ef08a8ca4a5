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
	steps   int
	next    time.Time
	// demand is what the reader's demand was when this sweep began anew, urgent that it is unanswered.
	demand int64
	urgent bool
	// issued is the highest id given out, as of the last sweep.
	issued int64
}

const (
	// sweepStep rows are looked at by one statement, which takes about 5 ms.
	sweepStep = 10_000
	// sweepSteps bounds the steps of one interval, so that a table of millions of kept rows costs no
	// more than a small one. The next interval goes on where this one stopped.
	sweepSteps = 20
	// sweepPause spreads the steps.
	sweepPause = 50 * time.Millisecond
)

// errBackwards ends a session whose ids went backwards; the next one starts from where they are.
var errBackwards = errors.New("forwarder: the outbox's sequence went backwards (a restore, a failover or a crash under asynchronous commit): starting again from its present value")

func (r *reader) sweepOn(ctx context.Context, now time.Time) error {
	s := &r.sweep
	if demand := r.demand.Load(); demand != s.demand {
		*s = sweep{demand: demand, urgent: true, issued: s.issued}
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
		s.running, s.steps, s.end, s.issued = true, 0, r.last, issued
	}
	suspects, last, err := r.claim.Unsettled(ctx, s.at, s.end, sweepStep)
	if err != nil {
		return err
	}
	r.alive(now)
	s.at = last
	s.steps++
	done := last >= s.end
	s.next = now.Add(sweepPause)
	if s.urgent {
		s.next = now
	}
	f := found{}
	switch {
	case done:
		if s.urgent {
			f.swept = s.demand
		}
		*s = sweep{next: now.Add(r.config.SweepInterval), demand: s.demand, issued: s.issued}
	case s.steps >= sweepSteps && !s.urgent:
		s.running, s.next = false, now.Add(r.config.SweepInterval)
	}
	f.suspects = slices.DeleteFunc(suspects, r.gaps.contains)
	if len(f.suspects) == 0 && f.swept == 0 {
		return nil
	}
	return r.hand(ctx, f)
}
