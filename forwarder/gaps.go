package forwarder

import (
	"cmp"
	"slices"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

const (
	// maxExactGaps is how many gaps are asked for one by one. 1,000 cost a read about 1 ms; 100,000
	// would cost it 100 ms.
	maxExactGaps = 1000
	// coveringRanges is by how many ranges more gaps than that are covered.
	coveringRanges = 64
)

// gapList holds the ids below the highest one read that no read has seen: a transaction that took such
// an id may have rolled back, or may still commit. It is kept sorted, without overlaps.
type gapList struct {
	gaps []gap
	// fresh tells that some gaps have no era yet.
	fresh bool
	// query is what ranges returned last, nil after a change.
	query []outbox.Range
}

type gap struct {
	outbox.Range
	era *era
}

// era is a set of gaps that were first seen before the same look at who may still fill them.
type era struct {
	// holders are the transactions of that look that have not ended yet.
	holders map[string]struct{}
	ended   bool
}

// lowest returns the lowest id not seen, or otherwise when there is none.
func (l *gapList) lowest(otherwise int64) int64 {
	if len(l.gaps) == 0 {
		return otherwise
	}
	return l.gaps[0].Low
}

// contains reports whether id has not been seen.
func (l *gapList) contains(id int64) bool {
	_, ok := l.find(id)
	return ok
}

func (l *gapList) find(id int64) (int, bool) {
	return slices.BinarySearchFunc(l.gaps, id, func(g gap, id int64) int {
		switch {
		case g.High < id:
			return -1
		case g.Low > id:
			return 1
		default:
			return 0
		}
	})
}

// add appends the ids from low to high, which lie above all others.
func (l *gapList) add(low, high int64) {
	if low > high {
		return
	}
	l.gaps = append(l.gaps, gap{Range: outbox.Range{Low: low, High: high}})
	l.fresh, l.query = true, nil
}

// settle takes the result of a read that asked for all gaps: ids that were found, ascending, are gaps
// no more. A complete read, one that nothing was cut off from, also ends the gaps that it had a last
// chance to find: those whose every possible writer had ended before it began.
func (l *gapList) settle(found []int64, complete bool) {
	drop := complete && slices.ContainsFunc(l.gaps, func(g gap) bool { return g.era != nil && g.era.ended })
	if len(found) == 0 && !drop {
		return
	}
	kept := make([]gap, 0, len(l.gaps)+len(found))
	for _, g := range l.gaps {
		keep := !drop || g.era == nil || !g.era.ended
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
}

// undecided reports whether a look at the writers can bring the list on.
func (l *gapList) undecided() bool {
	if l.fresh {
		return true
	}
	return slices.ContainsFunc(l.gaps, func(g gap) bool { return !g.era.ended })
}

// look takes who may write now. It was asked after the reads that saw the fresh gaps, so whoever took
// one of their ids is among holders or has ended.
func (l *gapList) look(holders map[string]struct{}) {
	var last *era
	for i := range l.gaps {
		e := l.gaps[i].era
		if e == nil || e == last || e.ended {
			continue
		}
		last = e
		for holder := range e.holders {
			if _, still := holders[holder]; !still {
				delete(e.holders, holder)
			}
		}
		e.ended = len(e.holders) == 0
	}
	if !l.fresh {
		return
	}
	now := &era{holders: make(map[string]struct{}, len(holders)), ended: len(holders) == 0}
	for holder := range holders {
		now.holders[holder] = struct{}{}
	}
	for i := range l.gaps {
		if l.gaps[i].era == nil {
			l.gaps[i].era = now
		}
	}
	l.fresh = false
}

// ranges returns what a read asks for: each gap, or, when they are very many, few ranges that cover
// them, cut at the widest distances between them. What such a range finds besides gaps is for the
// reader to drop.
func (l *gapList) ranges() []outbox.Range {
	if l.query != nil || len(l.gaps) == 0 {
		return l.query
	}
	if len(l.gaps) <= maxExactGaps {
		l.query = make([]outbox.Range, len(l.gaps))
		for i, g := range l.gaps {
			l.query[i] = g.Range
		}
		return l.query
	}
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
	l.query = make([]outbox.Range, 0, len(cuts)+1)
	start := 0
	for _, cut := range append(cuts, len(l.gaps)) {
		l.query = append(l.query, outbox.Range{Low: l.gaps[start].Low, High: l.gaps[cut-1].High})
		start = cut
	}
	return l.query
}
