package main_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestChaos: what the other tests do one by one happens in random order, often before the last thing is
// over.
func TestChaos(t *testing.T) {
	t.Parallel()
	const share = 500
	rounds := often(5, 16)
	random := seeded(t)
	b, server := setupOwnServer(t)
	b.broker.ProduceLatency(10 * time.Millisecond)
	arguments := []string{"--lease", "500ms", "--drain-timeout", "500ms"}
	pair := b.startPair(arguments...)
	load := b.startLoad(4, 200)
	pick := func() *process { return pair[random.IntN(2)] }
	end := func(p *process, signal syscall.Signal) {
		p.signal(signal)
		p.wait()
		pair.replace(b, p, arguments...)
	}

	things := []struct {
		name string
		do   func()
	}{
		{"kill one", func() { end(pick(), syscall.SIGKILL) }},
		{"kill both", func() { end(pair[0], syscall.SIGKILL); end(pair[1], syscall.SIGKILL) }},
		{"stop one", func() { end(pick(), syscall.SIGTERM) }},
		{"freeze one", func() {
			p := pick()
			p.signal(syscall.SIGSTOP)
			b.pause(time.Duration(random.IntN(1500)) * time.Millisecond)
			p.signal(syscall.SIGCONT)
		}},
		{"freeze and kill", func() {
			p := pick()
			p.signal(syscall.SIGSTOP)
			b.pause(time.Duration(random.IntN(1500)) * time.Millisecond)
			end(p, syscall.SIGKILL)
		}},
		{"restart the broker", func() {
			b.broker.Stop()
			b.pause(time.Duration(random.IntN(800)) * time.Millisecond)
			b.broker.Restart(t)
		}},
		{"restart the database", func() { require.NoError(t, server.Restart(within(t, patience))) }},
		{"crash the database", func() {
			require.NoError(t, server.Kill())
			require.NoError(t, server.Restart(within(t, patience)))
		}},
	}
	for range rounds {
		load.release(share)
		b.pause(time.Duration(random.IntN(300)) * time.Millisecond)
		thing := things[random.IntN(len(things))]
		t.Log(thing.name)
		thing.do()
	}
	load.release(share)
	load.finish()

	got := b.requireWhole()
	require.Positive(t, got.sent)
	t.Logf("%d transactions failed", load.faults.Load())
	require.Zero(t, b.count(`retry_count > 0`), "none of this is an event's fault")
}

// seeded is chance whose seed is logged; TAILRACE_SEED repeats it, as far as timing lets it.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("TAILRACE_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// pause lets things take their course: which moment comes next is what is random.
func (b *bundle) pause(d time.Duration) { pause(b.t, d) }

func pause(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
