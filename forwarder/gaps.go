package forwarder

import (
	"cmp"
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
