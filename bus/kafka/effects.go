package kafka

import (
	"slices"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// effects are what a change of state under the sender's lock makes necessary outside of it: telling the
// streams, and only then letting go of the lanes, so that what a lane reports keeps its order.
type effects struct {
	reports []report
	told    []*stream
	release []*lane
	thaw    []*topic
}

type report struct {
	stream  *stream
	records []*delivery.Record
	verdict delivery.Verdict
}

// report gives all records the same verdict; anything but Delivered closes their fences now, before
// another batch can be built. s.mu is held.
func (fx *effects) report(st *stream, records []*delivery.Record, verdict delivery.Verdict) {
	if len(records) == 0 {
		return
	}
	if verdict.Fault != delivery.Delivered {
		for _, record := range records {
			record.Fence.Close()
		}
	}
	fx.reports = append(fx.reports, report{st, records, verdict})
}

// reportEntries reports queued entries, which may belong to several streams. s.mu is held.
func (fx *effects) reportEntries(entries []entry, verdict delivery.Verdict) {
	for len(entries) > 0 {
		st := entries[0].stream
		n := slices.IndexFunc(entries, func(e entry) bool { return e.stream != st })
		if n < 0 {
			n = len(entries)
		}
		records := make([]*delivery.Record, n)
		for i, e := range entries[:n] {
			records[i] = e.record
		}
		fx.report(st, records, verdict)
		entries = entries[n:]
	}
}

// trouble notes that what key stands for keeps the stream from the broker. s.mu is held.
func (fx *effects) trouble(st *stream, key any, err error) {
	if st.stopped || st.config.Unreachable == nil {
		return
	}
	if st.troubles == nil {
		st.troubles = map[any]struct{}{}
	}
	st.troubles[key] = struct{}{}
	if !slices.Contains(fx.told, st) { // one request has many lanes
		st.notices = append(st.notices, err)
		fx.told = append(fx.told, st)
	}
}

// relieve notes that it no longer does. s.mu is held.
func (fx *effects) relieve(st *stream, key any) {
	if _, troubled := st.troubles[key]; !troubled {
		return
	}
	delete(st.troubles, key)
	if len(st.troubles) == 0 {
		st.notices = append(st.notices, nil)
		fx.told = append(fx.told, st)
	}
}

// run tells the streams and then releases the lanes. s.mu is not held.
func (s *Sender) run(fx *effects) {
	for {
		for _, r := range fx.reports {
			if r.stream.config.Report != nil {
				r.stream.config.Report(r.records, r.verdict)
			}
		}
		for _, st := range fx.told {
			st.tell()
		}
		if len(fx.reports) == 0 && len(fx.release) == 0 && len(fx.thaw) == 0 {
			return
		}
		next := new(effects)
		s.mu.Lock()
		for _, r := range fx.reports {
			r.stream.settled(len(r.records))
		}
		for _, t := range fx.thaw {
			s.thaw(next, t)
		}
		for _, l := range fx.release {
			s.release(next, l)
		}
		s.mu.Unlock()
		fx = next
	}
}
