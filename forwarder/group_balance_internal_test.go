package forwarder

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// world is a group as the servers know it, moved by plans alone.
type world struct {
	databases int
	outboxes  []placed // free is not kept here
	joined    map[uint32]map[int]bool
	// frozen members are members still, and keep what they own, but do nothing.
	frozen map[uint32]bool
	moves  int
}

func newWorld(databases, outboxes int) *world {
	w := &world{databases: databases, joined: map[uint32]map[int]bool{}, frozen: map[uint32]bool{}}
	for i := range outboxes {
		w.outboxes = append(w.outboxes, placed{database: i % databases})
	}
	return w
}

func (w *world) join(m uint32) {
	w.joined[m] = map[int]bool{}
	for d := range w.databases {
		w.joined[m][d] = true
	}
}

// end is a member's end: by a crash, by a clean stop, or since the servers gave it up when it froze.
func (w *world) end(m uint32) {
	delete(w.joined, m)
	delete(w.frozen, m)
	for i := range w.outboxes {
		if w.outboxes[i].owner == m {
			w.outboxes[i].owner = 0
		}
	}
}

func (w *world) members() []uint32 { return slices.Sorted(maps.Keys(w.joined)) }

// view is what a member sees now.
func (w *world) view(me uint32) view {
	v := view{me: me, joined: map[uint32]map[int]bool{}, outboxes: slices.Clone(w.outboxes)}
	for m, databases := range w.joined {
		v.joined[m] = maps.Clone(databases)
	}
	for i := range v.outboxes {
		v.outboxes[i].free = v.outboxes[i].owner == 0
	}
	return v
}

// act does what a plan says, as far as the locks let it, and reports whether that was anything.
func (w *world) act(v view) (acted bool) {
	p := v.plan()
	for _, i := range p.release {
		if w.outboxes[i].owner == v.me {
			w.outboxes[i].owner, acted = 0, true
			w.moves++
		}
	}
	for _, i := range p.claim {
		if w.outboxes[i].owner == 0 {
			w.outboxes[i].owner, acted = v.me, true
		}
	}
	return acted
}

func (w *world) loads() (loads []int) {
	for _, m := range w.members() {
		n := 0
		for _, o := range w.outboxes {
			if o.owner == m {
				n++
			}
		}
		loads = append(loads, n)
	}
	return loads
}

func (w *world) owned() (n int) {
	for _, o := range w.outboxes {
		if o.owner != 0 {
			n++
		}
	}
	return n
}

func (w *world) even() bool {
	loads := w.loads()
	return len(loads) == 0 || w.owned() == len(w.outboxes) && slices.Max(loads)-slices.Min(loads) <= 1
}

// settle lets the members act in random order, on views that may be a round old, until nothing happens.
func (w *world) settle(t *rapid.T, stale bool) {
	old := map[uint32]view{}
	for rounds, quiet := 0, 0; quiet < 2; rounds++ {
		require.Less(t, rounds, 100, "the group does not come to rest: %v", w.loads())
		acted := false
		order := rapid.Permutation(w.members()).Draw(t, "order")
		for _, m := range order {
			if w.frozen[m] {
				continue
			}
			v := w.view(m)
			if before, has := old[m]; has && stale && rapid.Bool().Draw(t, "stale") {
				v = before
			}
			old[m] = w.view(m)
			acted = w.act(v) || acted
		}
		quiet++
		if acted {
			quiet = 0
		}
	}
}

// fewest is how many outboxes have to change hands, at least, until the members are even: what is above the
// share that those with most are allowed.
func (w *world) fewest() (n int) {
	loads := w.loads()
	slices.SortFunc(loads, func(a, b int) int { return b - a })
	share, more := len(w.outboxes)/len(loads), len(w.outboxes)%len(loads)
	for i, load := range loads {
		allowed := share
		if i < more {
			allowed++
		}
		n += max(0, load-allowed)
	}
	return n
}

// TestAnyComingAndGoingEndsEven: whatever happens to the members, and however old what they see is, in the
// end every outbox is owned and nobody owns two more than another. With fresh views no outbox moves that
// does not have to.
func TestAnyComingAndGoingEndsEven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.IntRange(1, 3).Draw(t, "databases"), rapid.IntRange(1, 20).Draw(t, "outboxes"))
		stale := rapid.Bool().Draw(t, "stale views")
		next := uint32(1)
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			for range rapid.IntRange(1, 4).Draw(t, "at once") {
				members := w.members()
				switch kind := rapid.IntRange(0, 4).Draw(t, "kind"); {
				case kind < 2 || len(members) == 0:
					w.join(next * 7919) // numbers in no order of arrival
					next++
				case kind == 2:
					w.end(rapid.SampledFrom(members).Draw(t, "end"))
				case kind == 3:
					w.frozen[rapid.SampledFrom(members).Draw(t, "frozen")] = true
				default:
					delete(w.frozen, rapid.SampledFrom(members).Draw(t, "woken"))
				}
			}
			w.settle(t, stale)
			for _, m := range w.members() {
				if w.frozen[m] {
					w.end(m) // in the end its servers notice
				}
			}
			if len(w.joined) == 0 {
				continue
			}
			fewest := w.fewest()
			w.moves = 0
			w.settle(t, stale)
			require.True(t, w.even(), "%v of %d outboxes", w.loads(), len(w.outboxes))
			if !stale {
				require.LessOrEqual(t, w.moves, fewest, "moved more than needed")
			}
		}
	})
}

// TestEvenMembersMoveNothing: nobody gives up anything while no member has two more than another.
func TestEvenMembersMoveNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.IntRange(1, 6).Draw(t, "members")
		w := newWorld(2, rapid.IntRange(1, 20).Draw(t, "outboxes"))
		for m := range members {
			w.join(uint32(m + 1))
		}
		for i := range w.outboxes {
			w.outboxes[i].owner = uint32(i%members + 1)
		}
		for _, m := range w.members() {
			require.Equal(t, plan{}, w.view(m).plan())
		}
	})
}

// TestOutboxesGoWhereTheyCanBeReached: a member without a session in a database is given nothing there.
func TestOutboxesGoWhereTheyCanBeReached(t *testing.T) {
	t.Parallel()
	w := newWorld(2, 8)
	w.join(1)
	w.join(2)
	delete(w.joined[2], 1)
	for range 5 {
		for _, m := range w.members() {
			w.act(w.view(m))
		}
	}
	require.Equal(t, []int{4, 4}, w.loads())
	for _, o := range w.outboxes {
		if o.database == 1 {
			require.Equal(t, uint32(1), o.owner)
		}
	}
	w.joined[2] = map[int]bool{}
	w.end(1)
	require.Equal(t, plan{}, w.view(2).plan(), "what nobody can reach is left alone")
}

// TestPlansCountWhatTheyDoNotServe: a member that serves further outboxes is spared, and one that cannot give
// anything away is passed over.
func TestPlansCountWhatTheyDoNotServe(t *testing.T) {
	t.Parallel()
	w := newWorld(1, 4)
	w.join(1)
	w.join(2)
	v := w.view(1)
	v.others = map[uint32]int{1: 4}
	require.Empty(t, v.plan().claim, "the other has less")
	v.me = 2
	require.Len(t, v.plan().claim, 4)

	for i := range w.outboxes {
		w.outboxes[i].owner = 1
	}
	v = w.view(1)
	require.Len(t, v.plan().release, 2)
	v.outboxes[0].fixed, v.outboxes[1].fixed = true, true
	require.Equal(t, []int{2, 3}, v.plan().release)
	for i := range v.outboxes {
		v.outboxes[i].fixed = true
	}
	require.Equal(t, plan{}, v.plan())
}

func BenchmarkPlan(b *testing.B) {
	w := newWorld(4, 400)
	for m := range uint32(20) {
		w.join(m + 1)
	}
	for i := range w.outboxes {
		w.outboxes[i].owner = uint32(rand.IntN(10) + 1)
	}
	v := w.view(1)
	b.ReportAllocs()
	for b.Loop() {
		v.plan()
	}
}
