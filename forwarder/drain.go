package forwarder

import (
	"context"
	"errors"
	"fmt"
)

// ErrWaiting is wrapped by the error of [Forwarder.Drain] when events are left that wait for a retry.
var ErrWaiting = errors.New("forwarder: some events wait for a retry")

var errStopped = errors.New("forwarder: stopped, or lost the outbox, before the drain was done")

// drain is one call of Drain.
type drain struct {
	// number is the reader's demand with this call.
	number int64
	// read and swept: all that was pending has been handed to the session.
	read, swept bool
	// armed: of the chunks on their way, those up to upTo count.
	armed bool
	upTo  int64
	done  chan error
}

func newDrain() *drain { return &drain{done: make(chan error, 1)} }

func (d *drain) end(err error) { d.done <- err }

// drained ends a drain whose events are all settled, or wait for a retry, and reports whether it did.
func (s *session) drained(d *drain) bool {
	if !d.read || !d.swept || len(s.queue)+len(s.wanted)+len(s.suspects) > 0 {
		return false
	}
	if !d.armed {
		d.armed, d.upTo = true, s.lastChunk
	}
	for number := range s.chunks {
		if number <= d.upTo {
			return false
		}
	}
	refused, paused, moving := 0, 0, false
	var reason error
	s.holds(func(k *keyState) {
		switch k.held.phase {
		case waiting:
			refused += len(k.held.ids)
		case parked:
			paused += len(k.held.ids)
		default:
			moving = true
		}
		moving = moving || k.held.counting
		if k.held.reason != nil {
			reason = k.held.reason
		} else if k.topic.pause != nil {
			reason = k.topic.pause.err
		}
	})
	if moving {
		return false
	}
	var err error
	if refused+paused > 0 {
		err = fmt.Errorf("%w: %d behind a refused event, %d for a topic that can't be written to: %w", ErrWaiting, refused, paused, reason)
	}
	d.end(err)
	return true
}

// Drain forwards all that is pending now and returns once it is settled, so that a test needs no
// sleep. It takes the outbox itself, waiting for it until ctx ends, or, when [Forwarder.Run] is at
// work in this process, asks that one. Events that are left because they wait for a retry are an
// error that wraps [ErrWaiting] and names the reason.
func (f *Forwarder) Drain(ctx context.Context) error {
	d := newDrain()
	for {
		by, ended := f.start(byDrain)
		if by == byNobody {
			defer f.stopRunning()
			return f.drainAlone(ctx, d)
		}
		select {
		case f.drains <- d:
			select {
			case err := <-d.done:
				if errors.Is(err, errStopped) && ctx.Err() == nil {
					d = newDrain()
					continue
				}
				return err
			case <-ctx.Done():
				return fmt.Errorf("forwarder: drain: %w", ctx.Err())
			}
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("forwarder: drain: %w", ctx.Err())
		}
	}
}

func (f *Forwarder) drainAlone(ctx context.Context, d *drain) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	result := make(chan error, 1)
	go func() {
		defer stop()
		for {
			select {
			case f.drains <- d:
			case <-working.Done():
				return
			}
			select {
			case err := <-d.done:
				if errors.Is(err, errStopped) {
					d = newDrain()
					continue
				}
				result <- err
			case <-working.Done():
			}
			return
		}
	}()
	err := f.work(working)
	select {
	case drained := <-result:
		return errors.Join(drained, err)
	default:
	}
	if err == nil {
		err = fmt.Errorf("forwarder: drain: %w", context.Cause(ctx))
	}
	return err
}
