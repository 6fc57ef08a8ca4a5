package main_test

import (
	"maps"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
)

// TestFrozenOwnerOfMany: an owner of all outboxes is frozen with rows of each on their way, and wakes after all
// of its locks went to another, which has sent the same rows since. It must send none of them: neither when it
// hears that it lost its connections, nor when it hears nothing, since what was between has forgotten them.
func TestFrozenOwnerOfMany(t *testing.T) {
	t.Parallel()
	const share = 500
	freezes := often(1, 2)
	f := setupFleet(t, fleetOutboxes, map[string]string{"max.message.bytes": "4096"}) // so that a window is many batches
	f.broker.ProduceLatency(20 * time.Millisecond)
	direct := f.flags()
	links := f.throughLinks()
	// Who replaces the frozen one is not taken for frozen itself on a machine that stands still for a moment:
	// what it gives back is finished.
	replacement := []string{"--lease", "30s"}
	owner := f.start("--lease", "1s", "--window", strconv.Itoa(share))
	f.waitEven("start")
	var wakes []wake

	freeze := func(silent bool) {
		f.release(share)
		f.waitArrived(f.arrived() + fleetOutboxes*share/4)
		if silent {
			for _, l := range links {
				l.Hang()
			}
		}
		f.freeze(owner)
		require.Eventually(t, func() bool { return f.owns(owner) == 0 }, patience, 10*tick, "the server does not free the locks of a frozen process")
		require.Positive(t, f.pending(), "it was frozen when there was nothing to do")
		t.Logf("frozen with %d rows pending", f.pending())
	}
	replace := func() *process {
		next := f.startWith(direct, replacement...)
		f.waitEven("freeze")
		f.release(share)
		f.waitSettled()
		wakes = append(wakes, f.wake())
		return next
	}
	for range freezes {
		before := owner.lost()
		freeze(false)
		next := replace()
		f.release(share)
		f.thaw()
		require.Eventually(t, func() bool {
			lost := owner.lost()
			return !slices.ContainsFunc(f.names(), func(name string) bool { return lost[name] == before[name] })
		}, patience, 10*tick, "it does not notice that it lost its outboxes")
		f.waitEven("wake up")
		f.stop(next)
		f.waitEven("stop")
	}
	freeze(true)
	next := replace()
	f.thaw()
	require.Eventually(t, func() bool { status, _ := owner.get("/healthz"); return status != 0 }, patience, 10*tick, "it does not go on")
	f.release(share)
	f.waitSettled()
	f.end(owner, syscall.SIGKILL)

	got := f.requireWhole()
	require.Equal(t, (freezes*3+3)*fleetOutboxes*share, got.sent)
	for _, w := range wakes {
		w.requireNothingRepeated(f)
	}
	f.stop(next)
}

// wake is the moment before a frozen process wakes, when everything that it may have in hand has been sent and
// settled by another.
type wake struct {
	at   time.Time
	sent map[string]map[string]bool // ids by outbox
	ends kadm.ListedOffsets
}

func (f *fleet) wake() wake {
	f.t.Helper()
	w := wake{sent: map[string]map[string]bool{}}
	for _, o := range f.outboxes {
		w.sent[o.name] = written(f.t, o.db, o.name)
	}
	var err error
	w.ends, err = f.admin.ListEndOffsets(f.t.Context(), f.names()...)
	require.NoError(f.t, err)
	w.at = time.Now().Truncate(time.Millisecond) // as records have it
	return w
}

// requireNothingRepeated requires that nothing was sent after the wake that had been settled before. A record's
// timestamp is from right before the process asks itself whether it may still send. So what was stopped between
// its answer and the wire, a batch for each partition at most, is from before the wake, and the only exception.
func (w wake) requireNothingRepeated(f *fleet) {
	f.t.Helper()
	for _, o := range f.outboxes {
		late := map[int32]map[time.Time]int{}
		for _, record := range f.broker.Records(f.t, o.name) {
			end, known := w.ends.Lookup(o.name, record.Partition)
			require.True(f.t, known)
			id, _ := record.Header("_watermill_message_uuid")
			if record.Offset < end.Offset || !w.sent[o.name][id] {
				continue
			}
			require.Truef(f.t, record.Timestamp.Before(w.at), "%s was sent again at %s, after another had sent and settled it and the frozen owner had woken at %s",
				id, record.Timestamp, w.at)
			if late[record.Partition] == nil {
				late[record.Partition] = map[time.Time]int{}
			}
			late[record.Partition][record.Timestamp]++
		}
		for partition, batches := range late {
			f.t.Logf("late on the wire to %s/%d: %v", o.name, partition, maps.Keys(batches))
			require.Len(f.t, batches, 1, "more than the batch that was on the wire")
		}
	}
}
