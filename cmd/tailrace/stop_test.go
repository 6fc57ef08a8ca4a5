package main_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCleanStopMakesNoDuplicate: processes are stopped under load, one after the other.
func TestCleanStopMakesNoDuplicate(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.broker.ProduceLatency(20 * time.Millisecond)
			load := b.startLoad(4, 500)
			left := 0
			for range 3 {
				load.release(2000)
				p := b.forward()
				b.waitArrived(b.arrived() + 500)
				p.signal(signal)
				require.Zero(t, p.wait())
				left += b.pending()
			}
			load.release(2000)
			last := b.forward()
			load.finish()

			require.Equal(t, tally{sent: 8000, delivered: 8000}, b.requireWhole())
			t.Logf("the stops left %d rows to the next process", left)
			last.stop()
		})
	}
}

// TestStandbyTakesOverFromCleanStop: the other process is there already.
func TestStandbyTakesOverFromCleanStop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pair := b.startPair()
	load := b.startLoad(4, 100)
	for range 3 {
		load.release(1000)
		b.waitArrived(b.arrived() + 100)
		stopped := pair.owner(b)
		stopped.stop()
		pair.replace(b, stopped)
	}
	load.finish()

	require.Equal(t, tally{sent: 3000, delivered: 3000}, b.requireWhole())
	pair.stop()
}

// TestStandbyStopsCleanly whenever it is told to: also while it asks the database for the lock.
func TestStandbyStopsCleanly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.forward()
	owner.waitReady(200, "owner")
	for range 10 {
		standby := b.forward()
		require.Eventually(t, func() bool { return strings.Contains(standby.log.String(), "forwarding") }, patience, tick)
		standby.stop()
	}
	owner.stop()
}

// TestSecondSignalEndsAtOnce: an operator who does not want to wait for the drain signals again.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.forward("--drain-timeout", "1h")
	b.broker.ProduceLatency(time.Hour)
	load := b.startLoad(1, 10)
	load.release(100)
	load.finish()
	b.waitArrived(1)

	p.signal(syscall.SIGTERM)
	p.waitReady(503, "stopping")
	at := time.Now()
	p.signal(syscall.SIGTERM)
	require.Equal(t, 128+int(syscall.SIGTERM), p.wait())
	require.Less(t, time.Since(at), 5*time.Second)
}
