package forwarder

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

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
