// Package forwarder carries events from the outbox to the broker: at least once, in id order within
// (topic, key), and as fast as reading, sending and settling can overlap.
//
// An outbox has one owner at a time, by a session advisory lock; any number of further forwarders stand
// by. The owner reads pending rows, late commits included, sends them in a pipeline and settles them by
// outcome:
//
//   - acknowledged rows are marked processed, and purged after the retention;
//   - a broker that is away counts against no event: everything waits and goes on;
//   - an unknown or forbidden topic pauses that topic; other topics flow;
//   - an event that the broker refuses for its own sake is tried again with backoff while the later
//     events of its key wait behind it and other keys flow. After max_retries a copy goes to the
//     dead-letter topic, the row stays for the operator, and the key moves on.
//
// Start with [New], then [Forwarder.Run] in a process, or [Forwarder.Drain] in a test.
package forwarder

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
	"github.com/tailrace-go/tailrace/forwarder/internal/sends"
)

// Forwarder forwards one outbox. It is safe for concurrent use.
type Forwarder struct {
	config  Config
	store   *outbox.Store
	metrics *metrics
	sends   sends.Sends
	status  status
	drains  chan *drain

	mu    sync.Mutex
	by    worker
	ended chan struct{}
}

// ErrRunning is returned by a second Run of the same Forwarder.
var ErrRunning = errors.New("forwarder: this Forwarder is running already; make another with New to stand by")

// New checks the configuration and returns a forwarder. It starts nothing.
func New(config Config) (*Forwarder, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	store, err := outbox.NewStore(config.DB, config.Table)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(config.Registerer, config.Name)
	if err != nil {
		return nil, err
	}
	return &Forwarder{config: config, store: store, metrics: m, sends: sends.New(config.Tracer), drains: make(chan *drain), ended: make(chan struct{})}, nil
}

// Run forwards until ctx ends, then finishes what is on its way, settles it and gives the outbox back.
// It returns nil after a clean stop, and an error when what was on its way could not be finished
// within DrainTimeout, or when the outbox table is not there or not fit (errors.Is with the errors of
// bus/outbox). Losing the database or the broker ends nothing: it tries again.
func (f *Forwarder) Run(ctx context.Context) error {
	for {
		by, ended := f.start(byRun)
		if by == byNobody {
			break
		}
		if by == byRun {
			return ErrRunning
		}
		// A Drain: who starts Run and calls Drain at once cannot know which of them is first.
		select {
		case <-ended:
		case <-ctx.Done():
			return nil
		}
	}
	defer f.stopRunning()
	return f.work(ctx)
}

// Wake tells the forwarder that something was committed, so that it looks at once instead of at its next
// poll. It never blocks.
func (f *Forwarder) Wake() {
	select {
	case f.config.wake <- struct{}{}:
	default:
	}
}

// worker is what a Forwarder is working for.
type worker uint8

const (
	byNobody worker = iota
	byRun
	byDrain
)

// start makes it work for one and returns nobody, or else for whom it is working and what tells the end of that.
func (f *Forwarder) start(by worker) (worker, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by != byNobody {
		return f.by, f.ended
	}
	f.by = by
	return byNobody, nil
}

func (f *Forwarder) stopRunning() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by = byNobody
	close(f.ended)
	f.ended = make(chan struct{})
	f.status.set(func(s *Status) { s.State = Stopped })
}

// work owns the outbox again and again until ctx ends.
func (f *Forwarder) work(ctx context.Context) error {
	log := f.config.Logger
	const firstWait, mostWait = 50 * time.Millisecond, 5 * time.Second
	wait := firstWait
	checked, standby := false, false
	for {
		pause := f.config.StandbyPoll
		var owned bool
		var err error
		if !checked {
			err = outbox.Check(ctx, f.config.DB, f.config.Table)
			checked = err == nil
		}
		if checked {
			owned, err = f.own(ctx)
		}
		switch {
		case ctx.Err() != nil && !owned:
			return nil // whatever it was, it had nothing on its way
		case ctx.Err() != nil:
			return err
		case errors.Is(err, outbox.ErrOwned):
			f.status.database(nil)
			f.status.set(func(s *Status) { s.State = Standby })
			if !standby {
				log.Info("another forwarder owns the outbox; standing by")
			}
			standby, wait = true, firstWait
		case unfit(err):
			return err
		default:
			standby = false
			if owned {
				wait = firstWait
			}
			f.status.database(err)
			f.status.set(func(s *Status) { s.State = Standby })
			log.Warn("the outbox is not owned for now; trying again", "error", err, "retry_in", wait)
			pause = wait
			wait = min(2*wait, mostWait)
		}
		if !pace.Sleep(ctx, pace.Jitter(pause)) {
			return nil
		}
	}
}

// unfit reports whether an error tells that the outbox needs an operator, rather than that the database
// is away, which is no more fatal at the start than it is later.
func unfit(err error) bool {
	return errors.Is(err, outbox.ErrNoTable) || errors.Is(err, outbox.ErrNotMigrated) || errors.Is(err, outbox.ErrShape) || errors.Is(err, outbox.ErrServer)
}

// own claims the outbox once and works on it until ctx ends or the claim is lost. It reports whether it
// came to own it.
func (f *Forwarder) own(ctx context.Context) (owned bool, err error) {
	claim, err := f.store.Claim(ctx, f.config.Owner, f.config.Lease)
	if err != nil {
		return false, err
	}
	return f.serve(ctx, claim)
}

// serve works on a claimed outbox until ctx ends or the claim is lost, and releases it. It reports whether it
// came to own it.
func (f *Forwarder) serve(ctx context.Context, claim *outbox.Claim) (owned bool, err error) {
	defer func() {
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.config.Lease)
		defer cancel()
		if err := claim.Release(release); err != nil {
			f.config.Logger.Warn("could not release the outbox; its server frees it", "error", err)
		}
	}()
	f.status.database(nil)
	f.status.set(func(s *Status) { s.State, s.Since, s.Broker = Owner, time.Now(), nil })
	defer f.status.set(func(s *Status) { s.Flying, s.Waiting, s.Paused = 0, 0, nil })
	f.metrics.taken()
	defer func() { f.metrics.left(err == nil && ctx.Err() != nil) }()
	if open, err := f.open(ctx, claim); !open {
		return true, err
	}
	lowWater, err := claim.Start(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return true, nil // Told to stop, it has nothing on its way.
	case err != nil:
		return false, err
	}
	f.config.Logger.Info("owning the outbox", "table", f.store.Table(), "owner", f.config.Owner, "from_id", lowWater, "backend_pid", claim.PID())

	purging, stopPurging := context.WithCancel(ctx)
	var purger sync.WaitGroup
	purger.Go(func() { f.purge(purging, func() bool { return true }) })
	defer purger.Wait()
	defer stopPurging()

	err = newSession(f, claim, lowWater).run(ctx, f.drains)
	f.config.Logger.LogAttrs(ctx, slog.LevelInfo, "no longer owning the outbox", slog.String("table", f.store.Table()))
	return true, err
}
