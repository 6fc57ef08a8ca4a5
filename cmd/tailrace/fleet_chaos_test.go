package main_test

import (
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	fleetOutboxes = 8
	fleetMost     = 6 // processes
)

// TestFleetComesAndGoes: processes are started and stopped in random order under load. All outboxes are owned
// evenly after each change, and nothing is sent twice.
func TestFleetComesAndGoes(t *testing.T) {
	t.Parallel()
	rounds := often(6, 15)
	random := seeded(t)
	f := setupFleet(t, fleetOutboxes, nil)
	f.broker.ProduceLatency(5 * time.Millisecond)
	// No pause of a busy machine makes an owner look frozen: each handover is a clean one.
	arguments := []string{"--lease", "20s"}
	f.start(arguments...)
	f.waitEven("start the first")
	for range rounds {
		f.release(100)
		f.pause(random, 200*time.Millisecond)
		n := len(f.processes)
		if n == 1 || n < fleetMost && random.IntN(2) == 0 {
			f.start(arguments...)
			f.release(100)
			f.waitEven("start")
			continue
		}
		f.stop(f.processes[random.IntN(n)])
		f.release(100)
		f.waitEven("stop")
	}
	got := f.requireWhole()
	require.Equal(t, rounds*fleetOutboxes*200, got.sent)
	require.Zero(t, got.duplicated, "only clean handovers")
	for len(f.processes) > 0 {
		f.stop(f.processes[0])
	}
}

// TestFleetChaos: processes are started, stopped, killed and frozen in random order under load, one to six at
// a time. All outboxes are owned evenly after each change.
func TestFleetChaos(t *testing.T) {
	t.Parallel()
	rounds := often(7, 20)
	random := seeded(t)
	f := setupFleet(t, fleetOutboxes, nil)
	f.broker.ProduceLatency(10 * time.Millisecond)
	arguments := []string{"--lease", "500ms"}
	pick := func() *process { return f.processes[random.IntN(len(f.processes))] }
	one := func(int) bool { return true }
	several := func(n int) bool { return n > 1 }

	type thing struct {
		name string
		may  func(processes int) bool
		do   func()
	}
	things := []thing{
		{"start", func(n int) bool { return n < fleetMost }, func() { f.start(arguments...) }},
		{"start two", func(n int) bool { return n < fleetMost-1 }, func() { f.start(arguments...); f.start(arguments...) }},
		{"stop", several, func() { f.end(pick(), syscall.SIGTERM) }},
		{"kill", several, func() { f.end(pick(), syscall.SIGKILL) }},
		{"kill all but one", several, func() {
			for len(f.processes) > 1 {
				f.end(pick(), syscall.SIGKILL)
			}
		}},
		{"kill all and start as many", one, func() {
			n := len(f.processes)
			for len(f.processes) > 0 {
				f.end(pick(), syscall.SIGKILL)
			}
			for range n {
				f.start(arguments...)
			}
		}},
		{"freeze for a moment", one, func() {
			f.freeze(pick())
			f.pause(random, 1500*time.Millisecond)
			f.thaw()
		}},
		{"freeze until it is replaced", several, func() {
			f.freeze(pick())
			f.waitEven("freeze")
			f.release(50)
			f.pause(random, 100*time.Millisecond)
			f.thaw()
		}},
		{"freeze and kill", several, func() {
			p := pick()
			f.freeze(p)
			f.pause(random, 1500*time.Millisecond)
			f.frozen = nil
			f.end(p, syscall.SIGKILL)
		}},
	}
	f.start(arguments...)
	f.start(arguments...)
	f.waitEven("start two")
	for range rounds {
		f.release(150)
		f.pause(random, 200*time.Millisecond)
		can := slices.DeleteFunc(slices.Clone(things), func(one thing) bool { return !one.may(len(f.processes)) })
		now := can[random.IntN(len(can))]
		now.do()
		f.release(150)
		f.waitEven(now.name)
	}
	got := f.requireWhole()
	require.GreaterOrEqual(t, got.sent, rounds*fleetOutboxes*300)
}

// pause takes a random time.
func (f *fleet) pause(random *rand.Rand, most time.Duration) {
	f.t.Helper()
	pause(f.t, time.Duration(random.Int64N(int64(most))))
}
