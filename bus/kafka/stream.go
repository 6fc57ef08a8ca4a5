package kafka

import (
	"sync"
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// stream is one owner's records. Its fields are guarded by the sender's lock.
type stream struct {
	sender *Sender
	config delivery.StreamConfig
	done   chan struct{} // signalled when nothing is outstanding

	stopped     bool
	outstanding int              // records not reported
	troubles    map[any]struct{} // what keeps it from the broker: lanes, or the sender's control connection
	notices     []error          // for config.Unreachable, in order
	telling     sync.Mutex       // held while config.Unreachable is called, so that its calls keep their order
}

// Send is [delivery.Stream]'s.
func (st *stream) Send(records []*delivery.Record) {
	if len(records) == 0 {
		return
	}
	s := st.sender
	hashes, _ := s.hashes.Get().(*[]uint32)
	defer s.hashes.Put(hashes)
	*hashes = (*hashes)[:0]
	for _, record := range records {
		*hashes = append(*hashes, s.hash(record.Key))
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	st.outstanding += len(records)
	if st.stopped {
		// Not from here: the caller may hold a lock its Report needs.
		fx := new(effects)
		fx.report(st, append([]*delivery.Record(nil), records...), withheld(ErrClosed))
		go s.run(fx)
		return
	}
	s.start()
	now := time.Now()
	var t *topic
	for i, record := range records {
		if t == nil || t.name != record.Topic {
			t = s.topic(record.Topic)
			t.used = now
			t.rotate()
		}
		e := entry{record, st}
		if t.state != topicReady || t.frozen {
			t.pending = append(t.pending, e)
			s.ask(t)
			continue
		}
		l := t.lane(record, (*hashes)[i])
		l.queue.push(e)
		s.enqueue(l)
	}
}

// Close is [delivery.Stream]'s.
func (st *stream) Close() {
	s := st.sender
	fx := new(effects)
	s.mu.Lock()
	s.halt(fx, st, ErrClosed)
	s.mu.Unlock()
	s.run(fx)

	timeout := time.NewTimer(s.config.Config.requestTimeout())
	defer timeout.Stop()
	for {
		s.mu.Lock()
		outstanding := st.outstanding
		if outstanding == 0 {
			delete(s.streams, st)
		}
		s.mu.Unlock()
		if outstanding == 0 {
			st.signal() // for another Close that waits
			return
		}
		select {
		case <-st.done:
		case <-timeout.C:
			fx := new(effects)
			s.mu.Lock()
			s.forsake(fx, st)
			s.mu.Unlock()
			s.run(fx)
			timeout.Reset(forsakePause) // for what was between two states
		}
	}
}

const forsakePause = 100 * time.Millisecond

// withdraw reports what is queued behind a closed fence now, instead of when its turn comes.
func (st *stream) withdraw(err error) {
	fx := new(effects)
	st.sender.mu.Lock()
	st.sender.purge(fx, func(e entry) bool { return e.stream == st && e.record.Fence.Closed() }, withheld(err))
	st.sender.mu.Unlock()
	st.sender.run(fx)
}

// settled counts reported records. s.mu is held.
func (st *stream) settled(n int) {
	st.outstanding -= n
	if st.outstanding == 0 {
		st.signal()
	}
}

func (st *stream) signal() {
	select {
	case st.done <- struct{}{}:
	default:
	}
}

// tell passes the notices on, in order. s.mu is not held.
func (st *stream) tell() {
	st.telling.Lock()
	defer st.telling.Unlock()
	st.sender.mu.Lock()
	notices := st.notices
	st.notices = nil
	st.sender.mu.Unlock()
	for _, notice := range notices {
		st.config.Unreachable(notice)
	}
}

// halt stops a stream: nothing of it is sent any more. What is not on the wire is reported. s.mu is held.
func (s *Sender) halt(fx *effects, st *stream, err error) {
	if st.stopped {
		return
	}
	st.stopped = true
	st.troubles = nil
	for _, t := range s.topics {
		for _, l := range t.lanes {
			if l.head != nil && l.head.stream == st && !l.busy {
				s.abandon(fx, l, err)
			}
		}
	}
	s.purge(fx, func(e entry) bool { return e.stream == st }, withheld(err))
}

// forsake reports what a halted stream still has on the wire. s.mu is held.
func (s *Sender) forsake(fx *effects, st *stream) {
	for _, t := range s.topics {
		for _, l := range t.lanes {
			if b := l.head; b != nil && b.stream == st && b.wired && !b.forsaken {
				b.forsaken = true
				l.renew = max(l.renew, renewEpoch)
				fx.reportBatch(b, delivery.Verdict{Fault: delivery.Transport, Err: errNoAnswer, Partition: l.partition, Offset: -1})
			}
		}
	}
}

// purge takes entries out of the queues and reports them. s.mu is held.
func (s *Sender) purge(fx *effects, match func(entry) bool, verdict delivery.Verdict) {
	for _, t := range s.topics {
		var kept []entry
		for _, l := range t.lanes {
			fx.reportEntries(l.queue.take(match), verdict)
			l.suspect = min(l.suspect, l.queue.len())
			s.enqueue(l)
		}
		var out []entry
		for _, e := range t.pending {
			if match(e) {
				out = append(out, e)
			} else {
				kept = append(kept, e)
			}
		}
		t.pending = kept
		fx.reportEntries(out, verdict)
		s.settleTopic(fx, t)
	}
}
