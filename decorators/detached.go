package decorators

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// detached is a context for an event that must be published although the call is over: it has the call's
// values, and a deadline of its own. The timer starts when somebody asks for Done, which a publisher that
// does not wait never does; most of what context.WithTimeout costs is saved.
type detached struct {
	values   context.Context // never ends
	deadline time.Time
	arming   sync.Mutex
	armed    atomic.Pointer[armed]
}

type armed struct {
	context.Context
	cancel context.CancelFunc
}

func (d *Decorator) detached(ctx context.Context) *detached {
	return &detached{values: context.WithoutCancel(d.bus.WithoutTx(ctx)), deadline: time.Now().Add(d.timeout)}
}

// release ends the context.
func (d *detached) release() {
	if on := d.armed.Load(); on != nil {
		on.cancel()
	}
}

func (d *detached) Deadline() (time.Time, bool) { return d.deadline, true }

func (d *detached) Done() <-chan struct{} {
	if on := d.armed.Load(); on != nil {
		return on.Done()
	}
	d.arming.Lock()
	defer d.arming.Unlock()
	on := d.armed.Load()
	if on == nil {
		on = &armed{}
		on.Context, on.cancel = context.WithDeadline(d.values, d.deadline)
		d.armed.Store(on)
	}
	return on.Done()
}

func (d *detached) Err() error {
	if on := d.armed.Load(); on != nil {
		return on.Err()
	}
	if time.Now().After(d.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value asks the armed context, in which the context package finds what to hang derived contexts on.
func (d *detached) Value(key any) any {
	if on := d.armed.Load(); on != nil {
		return on.Value(key)
	}
	return d.values.Value(key)
}
