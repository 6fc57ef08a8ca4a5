package forwarder

import (
	"context"
	"errors"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// station is an outbox table in a Group.
type station struct {
	name, table string
	source      string // the outbox of the configuration
	database    *database
	forwarder   *Forwarder

	course
}

// course is how it goes with a station. It belongs to the goroutine of Run.
type course struct {
	fit       bool
	fault     error // why it is not, if that is known
	gone      bool  // the outbox has this table no longer
	phase     stationPhase
	quit      context.CancelFunc
	claim     *outbox.Claim // while owning, and leaving
	doubted   bool          // it was shown as not ours, though that is not known
	failures  time.Duration // the wait after the next failure
	notBefore time.Time     // when it may be claimed again
	freeSince time.Time
	gaveAt    time.Time // when it was given up for somebody else
	pinned    time.Time // until when it is not given up
	pin       time.Duration
}

type stationPhase uint8

const (
	// idle: nothing is under way.
	idle stationPhase = iota
	// claiming: the lock is being tried.
	claiming
	// owning: this process owns the outbox.
	owning
	// leaving: what is on its way is finished, then the lock is given back.
	leaving
)

const (
	firstFailure = 50 * time.Millisecond
	mostFailure  = 5 * time.Second
)

// take claims an outbox and forwards it until it is released or lost.
func (r *groupRun) take(s *station) {
	ctx, cancel := context.WithCancel(r.working)
	s.phase, s.quit = claiming, cancel
	f := s.forwarder
	go func() {
		claim, err := f.store.ClaimAs(ctx, f.config.Owner, f.config.Lease, r.me)
		owned := false
		if err == nil {
			r.tell(func() { r.took(s, claim) })
			owned, err = f.serve(ctx, claim)
		}
		r.tell(func() { r.left(s, owned, err) })
	}()
}

func (r *groupRun) took(s *station, claim *outbox.Claim) {
	s.claim = claim
	if s.phase == claiming {
		s.phase = owning
	}
	s.forwarder.status.database(nil)
}

// certain reports whether the outbox is ours beyond doubt.
func (s *station) certain() bool { return s.claim != nil && s.claim.Valid() }

// show has status and metrics say what is heard of the station's database: nil, or why it is away. A claim whose
// heartbeats ended is nobody's to count on, although its session cannot end before lib/pq gives its connection up.
func (s *station) show(away error) {
	f := s.forwarder
	switch {
	case s.phase == idle:
		f.status.set(func(now *Status) { now.State, now.Database = Standby, away })
	case away == nil && s.doubted && s.certain():
		s.doubted = false
		f.status.set(func(now *Status) { now.State, now.Database = Owner, nil })
		f.metrics.owns(f.Status().Since)
	case away == nil || s.certain():
	case s.claim != nil:
		s.doubted = true
		f.status.set(func(now *Status) { now.State, now.Database = Standby, away })
		f.metrics.ownsNot()
	default: // The claim may have succeeded, and not be told yet.
		f.status.set(func(now *Status) {
			if now.State != Owner {
				now.Database = away
			}
		})
	}
}

// release has an outbox given back, if it is ours.
func (r *groupRun) release(s *station) {
	if s.phase == claiming || s.phase == owning {
		s.phase = leaving
		s.quit()
	}
}

// left takes note that an outbox is ours no longer, or has not become ours.
func (r *groupRun) left(s *station, owned bool, err error) {
	released := s.phase == leaving
	s.quit()
	s.phase, s.claim, s.doubted = idle, nil, false
	status := &s.forwarder.status
	status.set(func(now *Status) { now.State = Standby })
	if owned {
		s.failures = firstFailure
	}
	switch {
	case err == nil || errors.Is(err, outbox.ErrOwned):
		s.failures = firstFailure
		status.database(nil)
	case released && !owned: // whatever it was, it had nothing on its way
	case r.ended:
		r.faults = append(r.faults, r.named(s, err))
	case released:
		s.forwarder.config.Logger.Warn("gave the outbox back, but not cleanly", "error", err)
	case unfit(err):
		r.unfit(s, err, false)
		r.helpers.Go(func() { r.inspect(r.assist, s, false) })
	default:
		status.database(err)
		s.forwarder.config.Logger.Warn("the outbox is not owned for now; trying again", "error", err, "retry_in", s.failures)
		s.notBefore = time.Now().Add(s.failures)
		s.failures = min(2*s.failures, mostFailure)
	}
	if released && owned {
		s.gaveAt = time.Now()
	}
	if s.gone && !r.ended {
		r.remove(s)
	}
}
