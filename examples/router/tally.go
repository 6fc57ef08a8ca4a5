package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/tailrace-go/tailrace/bus/consumer"
)

// tally counts events by handler, each once.
type tally struct {
	mu      sync.Mutex
	seen    map[string]map[string]bool
	changed chan struct{}
	// again counts what was delivered more than once, which Kafka may do: examples/order has an inbox.
	again int
}

func newTally() *tally {
	return &tally{seen: map[string]map[string]bool{}, changed: make(chan struct{}, 1)}
}

func (t *tally) handled(meta consumer.Meta) error {
	t.add(meta.Handler, meta.Event.EventID)
	return nil
}

func (t *tally) add(what, eventID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[what] == nil {
		t.seen[what] = map[string]bool{}
	}
	if t.seen[what][eventID] {
		t.again++
	}
	t.seen[what][eventID] = true
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

func (t *tally) counts() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := map[string]int{}
	for what, ids := range t.seen {
		counts[what] = len(ids)
	}
	return counts
}

// await waits until each of the wanted counts is reached.
func (t *tally) await(ctx context.Context, wanted map[string]int) error {
	const patience = 30 * time.Second
	late := time.After(patience)
	for {
		have := t.counts()
		missing := maps.Clone(wanted)
		maps.DeleteFunc(missing, func(what string, n int) bool { return have[what] >= n })
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-t.changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return fmt.Errorf("not within %s: wanted %v, have %v", patience, missing, have)
		}
	}
}
