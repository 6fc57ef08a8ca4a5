package outbox

import (
	"context"
	"sync"
	"time"
)

// statementTimeout bounds a statement of the subscriber. A statement is not cancelled with the
// subscription: a cancelled one loses the claim, and with it the other subscriptions'.
const statementTimeout = 30 * time.Second

// ownership is the claim on the table that the subscriptions of one [Subscriber] share.
type ownership struct {
	store *Store
	name  string
	lease time.Duration

	mu    sync.Mutex
	claim *Claim
	users int
	stop  chan struct{}
}

// join keeps the claim alive from now on, once there is one.
func (o *ownership) join() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.users++; o.users == 1 {
		o.stop = make(chan struct{})
		go o.beat(o.stop)
	}
}

// leave gives the table to the next process when the last subscription has left, which it reports.
func (o *ownership) leave() (last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.users--; o.users > 0 {
		return false
	}
	close(o.stop)
	o.drop()
	return true
}

// use calls do with the claim, making one if there is none; do is called by one goroutine at a time. It
// returns [ErrOwned] while another process has the table. After an error of do the claim is gone.
func (o *ownership) use(ctx context.Context, do func(context.Context, *Claim) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.claim == nil {
		claim, err := o.store.Claim(ctx, o.name, o.lease)
		if err != nil {
			return err
		}
		o.claim = claim
	}
	err := do(ctx, o.claim)
	if err != nil {
		o.drop()
	}
	return err
}

func (o *ownership) beat(stop <-chan struct{}) {
	ticker := time.NewTicker(o.lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		o.mu.Lock()
		if o.claim != nil {
			ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
			if o.claim.Beat(ctx) != nil {
				o.drop()
			}
			cancel()
		}
		o.mu.Unlock()
	}
}

func (o *ownership) drop() {
	if o.claim == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// What fails here ends the connection, and the server frees the lock with it.
	_ = o.claim.Release(ctx)
	o.claim = nil
}
