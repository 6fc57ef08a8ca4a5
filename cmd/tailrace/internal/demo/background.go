package demo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// task is a Run that blocks until it is stopped, in the background.
type task struct {
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

func runInBackground(ctx context.Context, run func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(t.ended)
		t.err = run(ctx)
	}()
	return t
}

// stop stops it and returns how it ended.
func (t *task) stop() error {
	t.cancel()
	<-t.ended
	return t.err
}

// await waits until the condition holds. It gives up when ctx ends, when the time is over, or when a task
// has ended, since the condition could then never hold.
func await(ctx context.Context, limit time.Duration, condition func() bool, tasks ...*task) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		for _, t := range tasks {
			select {
			case <-t.ended:
				return errors.Join(errors.New("it ended by itself"), t.err)
			default:
			}
		}
	}
	return nil
}
