package main_test

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFrozenOwnerIsReplaced: an owner that is stopped, not ended, keeps its connections. The server frees
// its lock, and when it wakes up it must not send what it had in hand.
func TestFrozenOwnerIsReplaced(t *testing.T) {
	t.Parallel()
	const lease = "500ms"
	freezes := often(2, 6)
	b := setup(t)
	b.broker.ProduceLatency(20 * time.Millisecond)
	pair := b.startPair("--lease", lease)
	load := b.startLoad(4, 500)

	for i := range freezes {
		load.release(1000)
		b.waitArrived(b.arrived() + 200)
		frozen := pair.owner(b)
		frozen.signal(syscall.SIGSTOP)
		at := time.Now()
		load.release(1000)
		require.Eventually(t, func() bool { return b.owner() == pair.other(frozen).pid() }, patience, tick,
			"nobody took over")
		took := time.Since(at)
		load.release(1000)
		b.waitArrived(b.arrived() + 200)
		frozen.signal(syscall.SIGCONT)
		load.release(1000)
		frozen.waitReady(http.StatusOK, "standby")
		t.Logf("freeze %d: taken over after %s with a lease of %s", i+1, took.Round(time.Millisecond), lease)
		require.Less(t, took, 10*time.Second)
	}
	load.finish()

	require.Zero(t, load.faults.Load())
	got := b.requireWhole()
	require.Equal(t, freezes*4000, got.sent)
	pair.stop()
}

// TestShortFreeze: the owner stands still for longer than it may act on its last heartbeat, but not for
// long enough to lose the lock. It must go on all the same, or nobody would.
func TestShortFreeze(t *testing.T) {
	t.Parallel()
	const lease = 1600 * time.Millisecond // the server waits for 2s
	freezes := often(2, 6)
	b := setup(t)
	b.broker.ProduceLatency(20 * time.Millisecond)
	p := b.forward("--lease", lease.String())
	load := b.startLoad(4, 500)
	for range freezes {
		load.release(4000)
		b.waitArrived(b.arrived() + 200)
		p.signal(syscall.SIGSTOP)
		b.pause(lease * 9 / 8)
		p.signal(syscall.SIGCONT)
		b.waitSettled()
	}
	load.finish()

	got := b.requireWhole()
	require.Equal(t, freezes*4000, got.sent)
	p.stop()
}
