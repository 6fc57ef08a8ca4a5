package forwarder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/mailbox"
)

var (
	// errCollision starts a run over.
	errCollision  = errors.New("forwarder: another process of the group drew the same number")
	errLeftBehind = errors.New("forwarder: the database did not answer within the drain timeout, so that this was left behind and some of it may be sent once more")
)

// Run forwards until ctx ends, then finishes what is on its way, settles it and gives the outboxes back. It
// returns nil after a clean stop, and an error when what was on its way could not be finished within
// DrainTimeout. It returns one, too, when an outbox table turns out not to be there or not fit (errors.Is with
// the errors of bus/outbox) when it is looked at first, or when it is the only one; later, such an outbox waits for
// the operator and the others go on. Losing a database or the broker ends nothing, and holds up no outbox of another
// database.
func (g *Group) Run(ctx context.Context) error {
	if !g.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	for {
		err := g.runAs(ctx, 1+rand.Uint32N(1<<32-1))
		if !errors.Is(err, errLeftBehind) {
			g.running.Store(false) // else what was left behind is at work still
		}
		if !errors.Is(err, errCollision) || errors.Is(err, errLeftBehind) {
			return err
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // It was told to stop; the number does not matter any more.
		}
		g.running.Store(true)
		g.config.Forwarder.Logger.Warn("another process of the group drew the same number; starting again under another")
	}
}

// groupRun is one Run of a Group. All of it belongs to one goroutine; others reach it through tell.
type groupRun struct {
	*Group

	config  *Config
	log     *slog.Logger
	me      outbox.Membership
	calls   *mailbox.Mailbox[func()]
	working context.Context // of what must end before Run does
	known   []uint32        // members, as of the last view
	ending  error           // why it must end by itself
	ended   bool            // nothing is begun any more
	faults  []error         // what went wrong at the end
	helpers sync.WaitGroup  // that end with assist
	assist  context.Context
}

func (g *Group) runAs(ctx context.Context, number uint32) error {
	assist, dismiss := context.WithCancel(ctx)
	defer dismiss()
	r := &groupRun{
		Group: g, config: &g.stations[0].forwarder.config, me: outbox.Membership{Group: g.config.Group, Number: number},
		calls: mailbox.New[func()](), working: context.WithoutCancel(ctx), assist: assist,
	}
	r.log = g.config.Forwarder.Logger
	for _, d := range g.databases {
		d.word = word{}
		look := &lookout{
			database: d, at: r.me, config: r.config,
			tell:     func(s sighting) { r.tell(func() { r.saw(s) }) },
			collided: func() { r.tell(func() { r.ending = errCollision }) },
		}
		r.helpers.Go(func() { look.run(assist) })
		for _, source := range d.sources {
			if source.list != nil {
				r.helpers.Go(func() { r.follow(assist, d, source) })
			}
		}
	}
	for _, s := range slices.Clone(r.stations) {
		s.course = course{failures: firstFailure}
		r.helpers.Go(func() { r.inspect(assist, s, true) })
	}
	for ctx.Err() == nil && r.ending == nil {
		select {
		case <-r.calls.Ready:
			r.attend()
		case <-ctx.Done():
		}
	}
	dismiss()
	return r.stop()
}

// tell has something done by the goroutine of Run.
func (r *groupRun) tell(call func()) { r.calls.Put(call) }

func (r *groupRun) attend() {
	for _, call := range r.calls.Take() {
		call()
	}
}

// add serves one more table.
func (r *groupRun) add(s *station) {
	r.mu.Lock()
	r.stations = append(r.stations, s)
	r.mu.Unlock()
	s.database.watch(s.table)
	r.helpers.Go(func() { r.inspect(r.assist, s, false) })
}

// remove forgets a table that is served no longer.
func (r *groupRun) remove(s *station) {
	s.database.forget(s.table)
	s.forwarder.metrics.unregister(r.config.Registerer) // before the status says that it is gone
	r.mu.Lock()
	r.stations = slices.DeleteFunc(r.stations, func(other *station) bool { return other == s })
	r.mu.Unlock()
}

// unfit takes note that a table needs an operator.
func (r *groupRun) unfit(s *station, err error, fatal bool) {
	if fatal || len(r.stations) == 1 {
		r.ending = r.named(s, err)
		return
	}
	if s.fault == nil {
		s.forwarder.config.Logger.Error("the outbox cannot be forwarded; the others go on", "error", err)
	}
	s.fit, s.fault = false, err
	s.forwarder.status.set(func(now *Status) { now.State, now.Outbox = Standby, err })
}

// named says which outbox an error is about, if there are several.
func (r *groupRun) named(s *station, err error) error {
	if len(r.stations) == 1 {
		return err
	}
	return &OutboxError{s.name, s.table, err}
}

// stop gives everything back. What belongs to a database that does not answer is left behind after
// DrainTimeout; what can still be settled has as long again.
func (r *groupRun) stop() error {
	r.ended = true
	for _, s := range r.stations {
		r.release(s)
	}
	dismissed := make(chan struct{})
	go func() { r.helpers.Wait(); close(dismissed) }()
	drained := time.NewTimer(r.config.DrainTimeout)
	defer drained.Stop()
	late := time.NewTimer(2*r.config.DrainTimeout + 2*r.config.Lease)
	defer late.Stop()
	// That a claim is not certain any more is told by nobody.
	again := time.NewTicker(r.config.Lease / 8)
	defer again.Stop()
	expired, last := false, false
	for {
		busy := r.busy(expired)
		if len(busy) == 0 || last {
			break
		}
		select {
		case <-r.calls.Ready:
			r.attend()
		case <-again.C:
		case <-drained.C:
			expired = true
		case <-late.C:
			last = true
		}
	}
	var left []string
	for _, s := range r.stations {
		if s.claim != nil {
			left = append(left, s.name)
		}
		s.forwarder.status.set(func(now *Status) { now.State = Stopped })
	}
	patience := r.config.Lease // A member session ends with its process, too.
	if len(left) > 0 {
		r.faults = append(r.faults, fmt.Errorf("%w: outbox %s", errLeftBehind, strings.Join(left, ", ")))
		patience = 0 // Others had DrainTimeout to leave; what does not answer would not in a little more, either.
	}
	select {
	case <-dismissed:
	case <-time.After(patience):
	}
	r.sawMembers(0)
	return errors.Join(append([]error{r.ending}, r.faults...)...)
}

// busy are the stations that a stop waits for.
func (r *groupRun) busy(expired bool) []*station {
	var busy []*station
	for _, s := range r.stations {
		answers := s.claim != nil && s.claim.Valid()
		if s.phase != idle && (!expired || answers) {
			busy = append(busy, s)
		}
	}
	return busy
}
