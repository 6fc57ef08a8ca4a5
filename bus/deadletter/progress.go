package deadletter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// progress says which records of a partition are settled: all before next, and the spans beyond it. next
// is the group's committed offset, and the spans are the commit's metadata, so that letters can be
// settled in any order and none is forgotten.
type progress struct {
	next  int64
	spans []span // in order, with gaps between them and before the first
}

// span is the offsets from first up to, and without, end.
type span struct{ first, end int64 }

// maxNote bounds the metadata: brokers refuse more than offset.metadata.max.bytes, 4096 by default.
const maxNote = 4000

const noteVersion = "1:"

// readProgress reads what was committed; a committed offset of -1 is none.
func readProgress(committed int64, note string) (progress, error) {
	p := progress{next: max(committed, 0)}
	if note == "" {
		return p, nil
	}
	bad := func() (progress, error) {
		return progress{}, fmt.Errorf("deadletter: the group's commit has metadata that is not of this package: give the requeueing a group of its own")
	}
	list, ok := strings.CutPrefix(note, noteVersion)
	if !ok {
		return bad()
	}
	at := p.next
	for pair := range strings.SplitSeq(list, ",") {
		gap, length, _ := strings.Cut(pair, "+")
		g, err1 := strconv.ParseInt(gap, 36, 64)
		n, err2 := strconv.ParseInt(length, 36, 64)
		if err1 != nil || err2 != nil || g < 1 || n < 1 {
			return bad()
		}
		p.spans = append(p.spans, span{at + g, at + g + n})
		at += g + n
	}
	return p, nil
}

// note returns the spans as text: the gap before each and its length, in base 36.
func (p *progress) note() string {
	if len(p.spans) == 0 {
		return ""
	}
	var text strings.Builder
	text.WriteString(noteVersion)
	at := p.next
	for i, s := range p.spans {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(strconv.FormatInt(s.first-at, 36))
		text.WriteByte('+')
		text.WriteString(strconv.FormatInt(s.end-s.first, 36))
		at = s.end
	}
	return text.String()
}

// settle adds the offsets from first up to, and without, end.
func (p *progress) settle(first, end int64) {
	first = max(first, p.next)
	if first >= end {
		return
	}
	from, _ := slices.BinarySearchFunc(p.spans, first, func(s span, at int64) int {
		if s.end < at {
			return -1
		}
		return 1
	})
	to := from
	for ; to < len(p.spans) && p.spans[to].first <= end; to++ {
		first, end = min(first, p.spans[to].first), max(end, p.spans[to].end)
	}
	p.spans = slices.Replace(p.spans, from, to, span{first, end})
	if p.spans[0].first <= p.next {
		p.next = p.spans[0].end
		p.spans = slices.Delete(p.spans, 0, 1)
	}
}

func (p *progress) settled(offset int64) bool {
	return offset < p.next || slices.ContainsFunc(p.spans, func(s span) bool { return s.first <= offset && offset < s.end })
}
