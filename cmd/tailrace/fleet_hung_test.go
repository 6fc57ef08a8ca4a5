package main_test

import (
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStopWhileADatabaseHangs: the process ends in its time, its error names what it left behind, and the outboxes
// of the other database are handed over cleanly.
func TestStopWhileADatabaseHangs(t *testing.T) {
	t.Parallel()
	const drain, lease = 2 * time.Second, 3 * time.Second
	f := setupFleet(t, 4, nil)
	f.broker.ProduceLatency(20 * time.Millisecond)
	direct := f.flags()
	links := f.throughLinks()
	p := f.start("--drain-timeout", drain.String(), "--lease", lease.String())
	f.waitEven("start")
	f.release(2000)
	f.waitArrived(200)
	require.Positive(t, f.pending(), "it hangs when there was nothing to do")

	links[1].Hang()
	began := time.Now()
	p.signal(syscall.SIGTERM)
	require.Equal(t, 1, p.wait())
	f.gone(p)
	took := time.Since(began)
	said := regexp.MustCompile(`(?m)^tailrace: (.*)$`).FindStringSubmatch(p.log.String())
	require.NotNil(t, said)
	t.Logf("ended after %s: %s", took.Round(time.Millisecond), said[1])
	require.Less(t, took, 2*(drain+lease), "it waits for what does not answer as if it did")
	require.Contains(t, said[1], "did not answer within the drain timeout")
	require.Contains(t, said[1], "outbox_1, outbox_3")
	require.NotContains(t, said[1], "outbox_0")
	require.NotContains(t, said[1], "outbox_2")

	f.startWith(direct)
	f.waitEven("start another")
	f.requireWhole()
	for _, o := range []fleetOutbox{f.outboxes[0], f.outboxes[2]} {
		require.Zero(t, o.count.duplicated, "%s was handed over cleanly", o.name)
	}
}
