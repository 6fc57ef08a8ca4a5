package main_test

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFleetTakeover: events trickle into all outboxes while processes crash, come, freeze, wake and leave, with the
// default lease. In an outbox that changes its owner, no event waits for two seconds on its way to Kafka. On a busy
// machine one may all the same, so a change is tried again: what fails is one that never takes less, though the
// machine stood still for too short to explain it.
func TestFleetTakeover(t *testing.T) {
	t.Parallel()
	f := setupFleet(t, fleetOutboxes, nil)
	f.binary = timedBinary
	f.broker.ProduceLatency(10 * time.Millisecond)
	for range 3 {
		f.start()
	}
	f.waitEven("start three")
	timed := &takeovers{fleet: f, trickle: f.trickle(50 * time.Millisecond), waits: map[string][]time.Duration{}, unclean: map[string]bool{}}

	oldest := func() *process { return f.processes[0] }
	start := change{"start", true, func() { f.start() }}
	timed.both(change{"kill", false, func() { f.end(oldest(), syscall.SIGKILL) }}, start)
	timed.both(change{"freeze", false, func() { f.freeze(oldest()) }}, change{"thaw", true, f.thaw})
	timed.both(change{"stop", true, func() { f.end(oldest(), syscall.SIGTERM) }}, start)

	timed.trickle.end()
	for name, waits := range timed.waits {
		slices.Sort(waits)
		t.Logf("%s: an outbox changed its owner %d times; the longest wait was %s in half of them, %s in all",
			name, len(waits), waits[len(waits)/2], waits[len(waits)-1])
	}
	f.requireWhole()
	t.Logf("%d outboxes may have duplicates, by a kill, a freeze or a pause of the machine", len(timed.unclean))
	for _, o := range f.outboxes {
		if !timed.unclean[o.name] {
			require.Zero(t, o.count.duplicated, "%s saw only clean handovers", o.name)
		}
	}
	for len(f.processes) > 0 {
		f.stop(f.processes[0])
	}
}

// change is something that happens to the processes.
type change struct {
	name  string
	clean bool // it has nothing sent twice
	do    func()
}

// takeovers are changes whose longest waits are kept.
type takeovers struct {
	*fleet
	*trickle

	waits   map[string][]time.Duration // by change, the longest in each outbox that changed its owner
	unclean map[string]bool            // outboxes that an owner lost
}

// both makes a change and the one that undoes it, until each was once quick.
func (k *takeovers) both(change, back change) {
	const most, attempts = 2 * time.Second, 6
	took, tookBack := wait{most, most}, wait{most, most}
	for n := 0; n < attempts && max(took.longest, tookBack.longest) >= most; n++ {
		took = took.least(k.make(change))
		tookBack = tookBack.least(k.make(back))
	}
	require.Less(k.fleet.t, took.unexplained, most, change.name)
	require.Less(k.fleet.t, tookBack.unexplained, most, back.name)
}

// wait is the longest that an event waited in the outboxes that changed their owner, and what of it the machine does
// not explain: a takeover is a dozen steps one after the other, each of which may have had to wait for its turn.
type wait struct{ longest, unexplained time.Duration }

func (w wait) least(other wait) wait {
	return wait{min(w.longest, other.longest), min(w.unexplained, other.unexplained)}
}

// make makes a change, and returns the longest wait.
func (k *takeovers) make(change change) wait {
	k.waitEvents()
	k.paused() // what was before does not count
	began, before := time.Now(), k.owners()
	change.do()
	k.waitEven(change.name)
	k.waitEvents()
	longest := time.Duration(0)
	for name, owner := range k.owners() {
		if owner == before[name] {
			continue
		}
		took := k.longest(name, began)
		k.waits[change.name] = append(k.waits[change.name], took)
		longest = max(longest, took)
		if !change.clean {
			k.unclean[name] = true
		}
	}
	for name := range k.lost() {
		k.unclean[name] = true
	}
	require.Positive(k.fleet.t, longest, "no outbox changed its owner")
	return wait{longest, longest - 12*k.paused()}
}

// trickle is a slow stream of events into each outbox, and of the same events out of Kafka.
type trickle struct {
	t       testing.TB
	ending  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	journeys map[string]map[string]journey // by outbox and event id
	pause    time.Duration                 // the longest that it was late to write
}

// journey is when an event was committed, and when it was there.
type journey struct{ committed, arrived time.Time }

// trickle writes an event into each outbox at every interval, until its end.
func (f *fleet) trickle(interval time.Duration) *trickle {
	f.t.Helper()
	r := &trickle{t: f.t, journeys: map[string]map[string]journey{}}
	for _, o := range f.outboxes {
		r.journeys[o.name] = map[string]journey{}
		o.load.committed = func(ids []string) {
			r.note(o.name, ids, func(j *journey) { j.committed = time.Now() })
		}
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(f.broker.Brokers()...), kgo.ConsumeTopics(f.names()...))
	require.NoError(f.t, err)
	ctx, cancel := context.WithCancel(f.t.Context())
	r.ending = cancel
	r.running.Go(func() {
		defer consumer.Close()
		for ctx.Err() == nil {
			fetched := consumer.PollFetches(ctx)
			fetched.EachRecord(func(record *kgo.Record) { r.arrived(record) })
		}
	})
	r.running.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-ticker.C:
				r.late(time.Since(last) - interval)
				for _, o := range f.outboxes {
					o.load.releaseOne()
				}
			case <-ctx.Done():
				return
			}
		}
	})
	f.t.Cleanup(r.end)
	return r
}

func (r *trickle) arrived(record *kgo.Record) {
	for _, header := range record.Headers {
		if header.Key == "_watermill_message_uuid" {
			r.note(record.Topic, []string{string(header.Value)}, func(j *journey) {
				if j.arrived.IsZero() {
					j.arrived = time.Now()
				}
			})
		}
	}
}

func (r *trickle) note(outbox string, ids []string, note func(*journey)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		j := r.journeys[outbox][id]
		note(&j)
		r.journeys[outbox][id] = j
	}
}

// waitEvents waits until everything is there that was committed until now.
func (r *trickle) waitEvents() {
	r.t.Helper()
	now := time.Now()
	require.Eventually(r.t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, journeys := range r.journeys {
			for _, j := range journeys {
				if j.arrived.IsZero() && j.committed.Before(now) {
					return false
				}
			}
		}
		return true
	}, patience, tick, "some events do not arrive")
}

// longest is the longest that an event of an outbox took which arrived since.
func (r *trickle) longest(outbox string, since time.Time) (longest time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.journeys[outbox] {
		if j.arrived.After(since) && !j.committed.IsZero() {
			longest = max(longest, j.arrived.Sub(j.committed))
		}
	}
	return longest.Round(time.Millisecond)
}

func (r *trickle) late(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pause = max(r.pause, by)
}

// paused is the longest that the machine stood still for this test since it was asked last.
func (r *trickle) paused() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	pause := r.pause
	r.pause = 0
	return pause
}

func (r *trickle) end() {
	r.ending()
	r.running.Wait()
}
