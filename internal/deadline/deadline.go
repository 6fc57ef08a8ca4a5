// Package deadline has a context whose deadline costs next to nothing until somebody waits for it.
package deadline

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Context is what context.WithTimeoutCause returns, but for its timer and its place among its parent's
// children: these are made when somebody asks for Done, which work that does not wait never does. They are most
// of what such a context costs.
//
// Until then context.Cause does not know of the deadline: who asks for the cause asks for Err first.
type Context struct {
	parent   context.Context
	deadline time.Time
	cause    error

	arming   sync.Mutex
	armed    atomic.Pointer[armed]
	released atomic.Bool
}

type armed struct {
	context.Context
	cancel context.CancelFunc
}

// After returns a context that ends with its parent, after d, or when it is released; cause, if not nil, is the
// context's cause after d. It must be released.
func After(parent context.Context, d time.Duration, cause error) *Context {
	deadline := time.Now().Add(d)
	if earlier, has := parent.Deadline(); has && earlier.Before(deadline) {
		deadline, cause = earlier, nil // the parent's timer tells, and has its own cause
	}
	return &Context{parent: parent, deadline: deadline, cause: cause}
}

// Release ends the context, if it has not ended.
func (c *Context) Release() {
	c.released.Store(true)
	if on := c.armed.Load(); on != nil {
		on.cancel()
	}
}

// Deadline implements [context.Context].
func (c *Context) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements [context.Context].
func (c *Context) Done() <-chan struct{} { return c.arm().Done() }

// Err implements [context.Context].
func (c *Context) Err() error {
	on := c.armed.Load()
	if on == nil {
		if c.parent.Err() == nil && !c.released.Load() && time.Now().Before(c.deadline) {
			return nil
		}
		on = c.arm() // it has ended, and stays so
	}
	return on.Err()
}

// Value implements [context.Context]. It asks the armed context, in which the context package finds what to hang
// derived contexts on.
func (c *Context) Value(key any) any {
	if on := c.armed.Load(); on != nil {
		return on.Value(key)
	}
	return c.parent.Value(key)
}

func (c *Context) arm() *armed {
	if on := c.armed.Load(); on != nil {
		return on
	}
	c.arming.Lock()
	defer c.arming.Unlock()
	on := c.armed.Load()
	if on == nil {
		on = new(armed)
		on.Context, on.cancel = context.WithDeadlineCause(c.parent, c.deadline, c.cause)
		c.armed.Store(on)
		if c.released.Load() {
			on.cancel()
		}
	}
	return on
}
