package bus

import (
	"context"
	"sync"
)

// afterTx is what is to be done when a transaction has ended.
type afterTx struct {
	mu    sync.Mutex
	ended bool
	fns   []func(committed bool)
}

// AfterTx has fn called once the transaction that [Bus.Transact] began for ctx has ended, before Transact
// returns: for what must be done whether it committed or not, such as telling of a failure that was rolled
// back. Committed is false, too, when the outcome of the commit is not known. The functions are called one
// after the other in the order given, also while a panic is on its way, one of their own included.
//
// It returns false, and does not keep fn, when ctx has no transaction, one that somebody else began and will
// end, or one that has ended.
func (b *Bus) AfterTx(ctx context.Context, fn func(committed bool)) bool {
	after := b.inTx(ctx).after
	return after != nil && after.add(fn)
}

func (a *afterTx) add(fn func(committed bool)) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return false
	}
	a.fns = append(a.fns, fn)
	return true
}

// run ends the list first: a function must not add to it.
func (a *afterTx) run(committed bool) {
	a.mu.Lock()
	a.ended = true
	fns := a.fns
	a.fns = nil
	a.mu.Unlock()
	callAll(fns, committed)
}

// callAll calls the others, too, when one panics or ends the goroutine: each is somebody else's.
func callAll(fns []func(committed bool), committed bool) {
	if len(fns) == 0 {
		return
	}
	defer callAll(fns[1:], committed)
	fns[0](committed)
}
