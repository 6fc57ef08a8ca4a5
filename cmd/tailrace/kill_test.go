package main_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKilledInTheMiddle: the owner of two forwarders is killed again and again while events are on their
// way, and started again.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	kills, events := often(3, 10), often(6_000, 20_000)
	b := setup(t)
	// Requests take a while, so that a kill finds some of them unanswered.
	b.broker.ProduceLatency(20 * time.Millisecond)
	pair := b.startPair()
	load := b.startLoad(4, 500)

	share := events / (kills + 1) / perTransaction * perTransaction
	unsettled, longest := 0, time.Duration(0)
	for i := range kills {
		load.release(share)
		// In turn: once records are on their way, and once some of them are settled.
		if i%2 == 0 {
			b.waitArrived(b.arrived() + share/4)
		} else {
			b.waitSettledRows(b.count(settled) + share/4)
		}
		killed := pair.owner(b)
		killed.signal(syscall.SIGKILL)
		require.Equal(t, -1, killed.wait())
		at := time.Now()
		left := b.pending()
		unsettled += min(left, 1)
		pair.replace(b, killed)
		next := pair.owner(b)
		took := time.Since(at)
		longest = max(longest, took)
		t.Logf("kill %d: process %d with %d rows unsettled; process %d owns the outbox after %s", i+1, killed.pid(), left, next.pid(), took.Round(time.Millisecond))
	}
	load.release(events - kills*share)
	load.finish()

	require.Zero(t, load.faults.Load())
	got := b.requireWhole()
	require.Equal(t, events, got.sent)
	require.GreaterOrEqual(t, unsettled, kills/2+1, "the kills came when there was nothing to do")
	t.Logf("longest takeover after a kill: %s", longest.Round(time.Millisecond))
	pair.stop()
	require.Zero(t, b.count(`retry_count > 0`))
}

// pair is two forwarders on one outbox.
type pair [2]*process

func (b *bundle) startPair(args ...string) *pair {
	b.t.Helper()
	return &pair{b.forward(args...), b.forward(args...)}
}

// owner waits until one of them owns the outbox.
func (p *pair) owner(b *bundle) (owner *process) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		pid := b.owner()
		for _, process := range p {
			if process.pid() == pid {
				owner = process
			}
		}
		return owner != nil
	}, patience, tick, "neither process owns the outbox")
	return owner
}

func (p *pair) other(process *process) *process {
	if p[0] == process {
		return p[1]
	}
	return p[0]
}

// replace starts another in the place of one that ended.
func (p *pair) replace(b *bundle, ended *process, args ...string) {
	b.t.Helper()
	for i := range p {
		if p[i] == ended {
			p[i] = b.forward(args...)
		}
	}
}

func (p *pair) stop() {
	for _, process := range p {
		process.stop()
	}
}
