package forwarder

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

const (
	// maxExactGaps is how many gaps are asked for one by one. 2,000 cost a read about 2 ms; 100,000
	// would cost it 100 ms.
	maxExactGaps = 2000
	// coveringRanges is by how many ranges more gaps than that are covered.
	coveringRanges = 64
	// fewGaps are not worth asking whether they can be left out of a read.
	fewGaps = 200
	// mostBetween is how many ids between gaps that nobody can fill any more a read passes over at most, to
	// ask for many of those gaps by one range: an index walks over a row faster than it finds one.
	mostBetween = 20_000
	// widestBetween is how far two such gaps lie apart at most.
	widestBetween = 16
)

// gapList holds the ids below the highest one read that no read has seen: a transaction that took such
// an id may have rolled back, or may still commit. Each part is kept sorted, without overlaps.
type gapList struct {
	// exact and few are maxExactGaps and fewGaps, less in tests.
	exact, few int
	// gaps are those that the next read asks for.
	gaps []gap
	// fresh tells that some gaps have no era yet.
	fresh bool
	// query is what ask returned last, nil after a change.
	query *question
	// eras are those of gaps and of quiet.
	eras []*era
	// quiet are eras whose gaps are left out of reads: all who may fill them are known to run on.
	quiet []*era
}

type gap struct {
	outbox.Range
	era *era
}

// era is a set of gaps that were first seen before the same look at who may still fill them.
type era struct {
	// holders are the transactions of that look that have not ended yet.
	holders outbox.Holders
	ended   bool
	// looks is how many looks have found no change in the holders.
	looks int
	// parked are its gaps while it is quiet.
	parked []outbox.Range
	used   bool // by tidy
}

// question is what a read asks for.
type question struct {
	ranges []outbox.Range
	// covering: the ranges cover ids that are no gaps. What they find of those is for the reader to drop.
	covering bool
	// lateOnly: the read is for gaps only that nobody can fill any more, up to an id. There are too many to be
	// asked for with every read, and they are done with once they have been. The ranges may cover others.
	lateOnly bool
	upTo     int64
}

func newGapList() gapList { return gapList{exact: maxExactGaps, few: fewGaps} }

// lowest returns the lowest id not seen, or otherwise when there is none.
func (l *gapList) lowest(otherwise int64) int64 {
	if len(l.gaps) > 0 {
		otherwise = l.gaps[0].Low
	}
	return min(otherwise, l.lowestQuiet())
}

// lowestQuiet returns the lowest id that reads leave out, or the highest there can be when there is none.
func (l *gapList) lowestQuiet() int64 {
	lowest := int64(math.MaxInt64)
	for _, e := range l.quiet {
		lowest = min(lowest, e.parked[0].Low)
	}
	return lowest
}

// len returns how many ranges of ids have not been seen.
func (l *gapList) len() int {
	n := len(l.gaps)
	for _, e := range l.quiet {
		n += len(e.parked)
	}
	return n
}

// contains reports whether id has not been seen.
func (l *gapList) contains(id int64) bool {
	if l.asked(id) {
		return true
	}
	for _, e := range l.quiet {
		if _, found := slices.BinarySearchFunc(e.parked, id, compareRange); found {
			return true
		}
	}
	return false
}

// asked reports whether id has not been seen and is among what reads ask for.
func (l *gapList) asked(id int64) bool { return l.find(id) != nil }

// find returns the gap that id is in, nil for none that reads ask for.
func (l *gapList) find(id int64) *gap {
	at, found := slices.BinarySearchFunc(l.gaps, id, func(g gap, id int64) int { return compareRange(g.Range, id) })
	if !found {
		return nil
	}
	return &l.gaps[at]
}

// wants reports whether a row with an id that was passed before is what the question is about.
func (l *gapList) wants(id int64, asked *question) bool {
	if !asked.covering && !asked.lateOnly {
		return true
	}
	g := l.find(id)
	return g != nil && (!asked.lateOnly || g.final())
}

// final reports whether nobody can fill the gap any more.
func (g *gap) final() bool { return g.era != nil && g.era.ended }

func compareRange(r outbox.Range, id int64) int {
	switch {
	case r.High < id:
		return -1
	case r.Low > id:
		return 1
	default:
		return 0
	}
}

// add appends the ids from low to high, which lie above all others.
func (l *gapList) add(low, high int64) {
	if low > high {
		return
	}
	l.gaps = append(l.gaps, gap{Range: outbox.Range{Low: low, High: high}})
	l.fresh, l.query = true, nil
}

// settle takes the result of a read that asked for all gaps that are not quiet, or for those up to an id that
// can't be filled any more: ids that were found, ascending, are gaps no more. A complete read, one that
// nothing was cut off from, also ends the gaps that it had a last chance to find: those whose every possible
// writer had ended before it began.
func (l *gapList) settle(found []int64, complete bool, asked *question) {
	last := func(g gap) bool { return complete && g.final() && g.Low <= asked.upTo }
	if len(found) > 0 || slices.ContainsFunc(l.gaps, last) {
		kept := l.gaps[:0:0]
		for _, g := range l.gaps {
			keep := !last(g)
			for len(found) > 0 && found[0] < g.Low {
				found = found[1:]
			}
			for len(found) > 0 && found[0] <= g.High {
				if g.Low < found[0] && keep {
					kept = append(kept, gap{outbox.Range{Low: g.Low, High: found[0] - 1}, g.era})
				}
				g.Low = found[0] + 1
				found = found[1:]
			}
			if g.Low <= g.High && keep {
				kept = append(kept, g)
			}
		}
		l.gaps, l.query = kept, nil
		l.tidy()
	}
	if complete && !asked.lateOnly {
		l.park()
	}
}

// tidy forgets eras that have no gaps.
func (l *gapList) tidy() {
	for _, e := range l.eras {
		e.used = e.parked != nil
	}
	for _, g := range l.gaps {
		if g.era != nil {
			g.era.used = true
		}
	}
	l.eras = slices.DeleteFunc(l.eras, func(e *era) bool { return !e.used })
}

// park makes eras quiet, when there are many gaps, whose every holder has a transaction id by which its end
// is noticed. A complete read has just found nothing more of theirs. Holders that the last look was the first
// to see may end soon.
func (l *gapList) park() {
	if len(l.gaps) <= l.few {
		return
	}
	still := func(g gap) bool { return g.era != nil && g.era.still() }
	if !slices.ContainsFunc(l.gaps, still) {
		return
	}
	kept := l.gaps[:0:0]
	for _, g := range l.gaps {
		if !still(g) {
			kept = append(kept, g)
			continue
		}
		if g.era.parked == nil {
			l.quiet = append(l.quiet, g.era)
		}
		g.era.parked = append(g.era.parked, g.Range)
	}
	l.gaps, l.query = kept, nil
	l.merge()
}

// still reports whether the era's gaps can be left out of reads.
func (e *era) still() bool {
	if e.ended || e.looks == 0 {
		return false
	}
	for _, id := range e.holders {
		if id == 0 {
			return false
		}
	}
	return true
}

// merge makes one of quiet eras that wait for the same.
func (l *gapList) merge() {
	merged := l.quiet[:0]
	for _, e := range l.quiet {
		same := slices.IndexFunc(merged, func(m *era) bool { return maps.Equal(m.holders, e.holders) })
		if same < 0 {
			merged = append(merged, e)
			continue
		}
		merged[same].parked = mergeRanges(merged[same].parked, e.parked)
		e.parked = nil
	}
	clear(l.quiet[len(merged):])
	l.quiet = merged
	l.tidy()
}

// mergeRanges returns both, sorted.
func mergeRanges(a, b []outbox.Range) []outbox.Range {
	if len(a) > 0 && len(b) > 0 && b[0].Low < a[len(a)-1].Low {
		a = append(a, b...)
		slices.SortFunc(a, func(x, y outbox.Range) int { return cmp.Compare(x.Low, y.Low) })
		return a
	}
	return append(a, b...)
}

// ended returns the transaction ids of those that hold quiet eras and run no more.
func (l *gapList) ended(runs func(id uint32) bool) (ids []uint32) {
	for _, e := range l.quiet {
		for _, id := range e.holders {
			if !runs(id) && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// rouse takes which transactions run, as of a statement made after a read, and which of the others have rolled
// back. It reports whether the read may have missed something: a holder of an era that it left out has committed.
func (l *gapList) rouse(running outbox.Running, rolledBack map[uint32]struct{}) bool {
	for _, e := range l.quiet { // the others were asked for in that read, before their holders had ended
		maps.DeleteFunc(e.holders, func(_ string, id uint32) bool {
			if id == 0 || running.Has(id) {
				return false
			}
			if _, nothing := rolledBack[id]; !nothing {
				e.looks, l.query = 0, nil
			}
			return true
		})
		e.ended = len(e.holders) == 0
	}
	return l.wake()
}

// wake has reads ask again for the gaps of quiet eras of which a holder may have filled some, and forgets those
// whose every holder has rolled back. It reports whether there is more to ask for.
func (l *gapList) wake() bool {
	before := len(l.quiet)
	l.quiet = slices.DeleteFunc(l.quiet, func(e *era) bool {
		gone := e.ended && e.looks > 0
		if gone {
			e.parked = nil
		}
		return gone
	})
	if len(l.quiet) < before {
		l.tidy()
	}
	return l.unpark(func(e *era) bool { return e.looks == 0 })
}

// unpark has reads ask again for the gaps of quiet eras.
func (l *gapList) unpark(which func(*era) bool) bool {
	before := len(l.quiet)
	l.quiet = slices.DeleteFunc(l.quiet, func(e *era) bool {
		if !which(e) {
			return false
		}
		for _, r := range e.parked {
			l.gaps = append(l.gaps, gap{r, e})
		}
		e.parked, e.looks = nil, 0
		return true
	})
	if len(l.quiet) == before {
		return false
	}
	slices.SortFunc(l.gaps, func(a, b gap) int { return cmp.Compare(a.Low, b.Low) })
	l.query = nil
	return true
}

// undecided reports whether a look at the writers can bring the list on.
func (l *gapList) undecided() bool {
	return l.fresh || slices.ContainsFunc(l.eras, func(e *era) bool { return !e.ended })
}

// look takes who may write now. It was asked after the reads that saw the fresh gaps, so whoever took
// one of their ids is among holders or has ended.
// RolledBack are those of the holders of quiet eras that are not among them and wrote nothing.
func (l *gapList) look(holders outbox.Holders, rolledBack map[uint32]struct{}) {
	for _, e := range l.eras {
		if !e.ended {
			e.look(holders, rolledBack)
		}
	}
	l.wake()
	l.query = nil // what has ended is asked for in another way
	if !l.fresh {
		return
	}
	now := &era{holders: maps.Clone(holders), ended: len(holders) == 0}
	for i := range l.gaps {
		if l.gaps[i].era == nil {
			l.gaps[i].era = now
		}
	}
	l.eras, l.fresh = append(l.eras, now), false
}

// look takes who may write now.
func (e *era) look(now outbox.Holders, rolledBack map[uint32]struct{}) {
	changed := false
	for holder, id := range e.holders {
		present, still := now[holder]
		if still {
			e.holders[holder] = cmp.Or(id, present)
			continue
		}
		delete(e.holders, holder)
		if _, nothing := rolledBack[id]; nothing {
			continue
		}
		changed = true
		// PREPARE TRANSACTION may give a holder a new name; without its transaction id, any of them may be it.
		for other, otherID := range now {
			if outbox.Prepared(other) && (id == 0 || id == otherID) {
				e.holders[other] = otherID
			}
		}
	}
	e.looks++
	if changed {
		e.looks = 0
	}
	e.ended = len(e.holders) == 0
}

// ask returns what a read asks for: each gap that is not quiet. When they are very many, it is those
// first that nobody can fill any more, a part at a time; and if there are none, few ranges that cover the
// gaps, cut at the widest distances between them.
func (l *gapList) ask() *question {
	if l.query != nil {
		return l.query
	}
	l.query = &question{upTo: math.MaxInt64}
	if len(l.gaps) <= l.exact {
		for _, g := range l.gaps {
			l.query.ranges = append(l.query.ranges, g.Range)
		}
		return l.query
	}
	if l.query.ranges, l.query.upTo = l.finals(); len(l.query.ranges) > 0 {
		l.query.lateOnly = true
	} else {
		l.query.covering, l.query.ranges = true, l.cover()
	}
	return l.query
}

// finals returns ranges that have the lowest of the gaps that nobody can fill any more, and up to which one.
func (l *gapList) finals() (ranges []outbox.Range, upTo int64) {
	between := int64(0)
	for i := range l.gaps {
		g := &l.gaps[i]
		if !g.final() {
			continue
		}
		if n := len(ranges); n > 0 {
			if apart := g.Low - ranges[n-1].High - 1; apart <= widestBetween && between+apart <= mostBetween {
				between += apart
				ranges[n-1].High, upTo = g.High, g.Low
				continue
			}
			if n == l.exact {
				break
			}
		}
		ranges, upTo = append(ranges, g.Range), g.Low
	}
	return ranges, upTo
}

func (l *gapList) cover() []outbox.Range {
	distance := func(i int) int64 { return l.gaps[i].Low - l.gaps[i-1].High }
	cuts := make([]int, 0, coveringRanges)
	for i := 1; i < len(l.gaps); i++ {
		if len(cuts) == coveringRanges-1 && distance(i) <= distance(cuts[len(cuts)-1]) {
			continue
		}
		at, _ := slices.BinarySearchFunc(cuts, i, func(a, b int) int { return -cmp.Compare(distance(a), distance(b)) })
		if len(cuts) == coveringRanges-1 {
			cuts = cuts[:len(cuts)-1]
		}
		cuts = slices.Insert(cuts, at, i)
	}
	slices.Sort(cuts)
	ranges := make([]outbox.Range, 0, len(cuts)+1)
	start := 0
	for _, cut := range append(cuts, len(l.gaps)) {
		ranges = append(ranges, outbox.Range{Low: l.gaps[start].Low, High: l.gaps[cut-1].High})
		start = cut
	}
	return ranges
}
