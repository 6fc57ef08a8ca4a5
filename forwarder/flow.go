package forwarder

import (
	"container/heap"
	"slices"
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
)

// judge takes the sender's verdicts. What was delivered is settled even when the session has to end.
func (s *session) judge() (err error) {
	if s.denied.Load() {
		err = errLease
	}
	for _, r := range s.reports.Take() {
		s.sends.End(r.records, r.verdict)
		switch {
		case r.verdict.Fault == delivery.Delivered:
			s.metrics.batch(len(r.records), r.verdict.Sent)
			s.delivered(r.records)
		case s.closing || err != nil:
			// The rows stay pending.
		case r.verdict.Fault == delivery.Transport:
			// Only a stream that was stopped gives a batch up.
			err = errLease
		default:
			for _, record := range r.records {
				if c, e := s.at(record.Ref); c != nil && !e.done {
					s.undelivered(c, e, r.verdict)
				}
			}
		}
	}
	return err
}

// permit is asked by the sender before each request. Once it has said no, the sender sends nothing more of
// the stream, so the session ends even if the claim turns out to have survived.
func (s *session) permit() bool {
	if s.claim.Valid() {
		return true
	}
	s.denied.Store(true)
	s.reports.Put(report{verdict: delivery.Verdict{Fault: delivery.Withheld, Err: errLease}})
	return false
}

// delivered settles what the broker acknowledged, and frees the keys that waited for it.
func (s *session) delivered(records []*delivery.Record) {
	now := time.Now()
	settle := settlement{ids: make([]int64, 0, len(records)), refs: make([]int64, 0, len(records))}
	for _, record := range records {
		c, e := s.at(record.Ref)
		if c == nil || e.done {
			continue
		}
		k := e.key
		k.flying--
		if e.topic.pause != nil && !e.copy {
			s.mended(e.topic)
		}
		if e.copy {
			s.buried(c, e)
			continue
		}
		s.metrics.forwardSeconds.Observe((e.age + now.Sub(c.read)).Seconds())
		settle.ids = append(settle.ids, e.id)
		settle.refs = append(settle.refs, record.Ref)
		if k.held != nil {
			if e.probe {
				s.release(k)
			} else if k.flying == 0 {
				s.ready(k, now)
			}
		}
		k.forget()
	}
	if len(settle.ids) > 0 {
		s.metrics.delivered(records[0].Topic, len(settle.ids))
		s.settler.settle(settle)
	}
}

// undelivered takes an entry off the wire that the broker does not have.
func (s *session) undelivered(c *chunk, e *entry, verdict delivery.Verdict) {
	k := e.key
	k.flying--
	switch {
	case e.copy:
		s.unburied(c, e, verdict)
		return
	case verdict.Fault == delivery.Topic:
		h := s.hold(k, parked)
		h.add(e.id)
		if h.phase != waiting {
			h.phase = parked
		}
		s.finish(c, e)
		s.pauseTopic(e.topic, verdict.Err, e.probe)
	case verdict.Fault == delivery.Refused:
		if e.topic.pause != nil {
			s.mended(e.topic)
		}
		s.refused(c, e, verdict.Err)
	default:
		h := s.hold(k, waiting)
		h.add(e.id)
		if h.phase == probing || h.phase == releasing {
			h.phase = waiting // never a hold that waits for a verdict it has had
		}
		s.finish(c, e)
	}
	if k.held != nil && k.flying == 0 {
		s.ready(k, time.Now())
	}
}

// refused counts an attempt against an event that the broker refuses for its own sake. Its key waits
// for it; the last attempt sends a copy to the dead letters.
func (s *session) refused(c *chunk, e *entry, reason error) {
	k := e.key
	if e.topic.pause != nil && e.probe {
		s.probeAgain(e.topic, 0)
	}
	if k.loose {
		if e.probe && k.held != nil {
			s.probed(k)
		}
		k = s.alone(e.topic)
		e.key = k
	}
	h := s.hold(k, waiting)
	h.phase, h.reason = waiting, reason
	h.until = time.Now().Add(time.Hour) // until the attempt is counted
	attempt := int(e.retries) + 1
	if attempt >= int(e.maxRetries) {
		s.bury(c, e, reason)
		return
	}
	h.add(e.id)
	s.finish(c, e)
	wait := pace.Backoff(s.config.RetryMin, s.config.RetryMax, attempt)
	s.log.Warn("an event was refused; its key waits, others flow", "topic", e.topic.name, "event_id", e.eventID,
		"row", e.id, "attempt", attempt, "max_retries", e.maxRetries, "retry_in", wait, "error", reason)
	s.metrics.retried(e.topic.name, 1)
	h.counting = true
	s.settler.retry([]int64{e.id}, reason, wait, func([]int64) {
		if k.held == h {
			h.counting = false
			s.wake(k, time.Now().Add(wait))
		}
	})
}

// probed lets the rows without key go on, or wait for their topic again, after the one that was tried was
// refused for its own sake: it waits by itself.
func (s *session) probed(loose *keyState) {
	if loose.topic.pause != nil && len(loose.held.ids) > 0 {
		loose.held.phase = parked
		return
	}
	s.release(loose)
}

// hold returns the key's hold, made in the given phase if there is none.
func (s *session) hold(k *keyState, in phase) *hold {
	if k.held == nil {
		k.held = &hold{phase: in}
	}
	return k.held
}

// wake sets when a waiting hold is tried again.
func (s *session) wake(k *keyState, at time.Time) {
	k.held.phase, k.held.until = waiting, at
	heap.Push(&s.alarms, alarm{at: at, key: k})
}

// ready has the first row of a hold read again, once its time has come and nothing of the key is on the
// wire.
func (s *session) ready(k *keyState, now time.Time) {
	h := k.held
	if h == nil || h.phase != waiting || h.counting || k.flying > 0 || h.until.After(now) {
		return
	}
	if k.topic.pause != nil {
		h.phase = parked
		return
	}
	h.phase = fetching
	s.enqueue(k)
}

// release lets a hold's rows follow, in order, behind its first one, which is done.
func (s *session) release(k *keyState) {
	k.held.phase, k.held.reason, k.held.bury = releasing, nil, false
	s.enqueue(k)
}

func (s *session) enqueue(k *keyState) {
	h := k.held
	if len(h.ids) == 0 {
		s.flow(k)
		return
	}
	if !h.queued {
		h.queued = true
		s.queue = append(s.queue, k)
	}
}

// pump has the next held rows read again, as far as there is room for them.
func (s *session) pump() {
	if len(s.wanted) > 0 || len(s.queue)+len(s.suspects) == 0 {
		return
	}
	room := min(fetchLimit, s.config.Window-s.flying)
	ids := make([]int64, 0, max(0, min(room, len(s.queue))))
	for len(s.queue) > 0 && len(ids) < room {
		k := s.queue[0]
		s.queue = s.queue[1:]
		h := k.held
		if h == nil {
			continue
		}
		h.queued = false
		part := h.ids
		switch h.phase {
		case fetching:
			part = part[:1]
		case releasing:
			part = part[:min(len(part), room-len(ids))]
		default:
			continue
		}
		for _, id := range part {
			s.wanted[id] = k
		}
		ids = append(ids, part...)
	}
	for len(s.suspects) > 0 && len(ids) < room {
		id := s.suspects[0]
		s.suspects = s.suspects[1:]
		if _, known := s.wanted[id]; !known {
			s.wanted[id] = nil
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	s.reader.ask(ids)
}

// fetched takes held rows that were read again.
func (s *session) fetched(f found) {
	var c *chunk
	if len(f.rows) > 0 {
		c = s.chunk(f.rows, f.read)
	}
	var touched []*keyState
	var swept []int64
	i := 0
	for _, id := range f.asked {
		k := s.wanted[id]
		delete(s.wanted, id)
		if k == nil {
			delete(s.suspected, id)
		}
		if k != nil && (len(touched) == 0 || touched[len(touched)-1] != k) {
			touched = append(touched, k)
		}
		if i == len(f.rows) || f.rows[i].ID != id {
			s.vanished(k, id)
			continue
		}
		if k == nil {
			swept = append(swept, id)
		}
		s.resume(c, i, &f.rows[i], k)
		i++
	}
	if len(swept) > 0 {
		s.metrics.swept(len(swept))
		s.log.Warn("found pending rows behind the reader: they were made pending again, or ids went backwards",
			"rows", len(swept), "first", swept[0], "last", swept[len(swept)-1])
	}
	for _, k := range touched {
		if k.held != nil && k.held.phase == releasing {
			s.enqueue(k)
		}
	}
}

// resume sends on a row that was read again, if its hold still wants it.
func (s *session) resume(c *chunk, i int, row *outbox.Row, k *keyState) {
	e := &c.entries[i]
	e.id = row.ID
	switch {
	case k == nil:
		s.place(c, i, row)
	case row.Topic != k.topic.name || string(row.Key) != k.key:
		// An operator mended the row while it waited: it is another key's now.
		s.vanished(k, row.ID)
		s.place(c, i, row)
	case k.held == nil || k.held.phase != fetching && k.held.phase != releasing:
		s.finish(c, e)
	case len(k.held.ids) == 0 || k.held.ids[0] != row.ID:
		// The hold changed while the rows were read: another pause, a late commit. Theirs is not the turn.
		s.finish(c, e)
		s.enqueue(k)
	case k.held.phase == fetching:
		k.held.remove(row.ID)
		k.held.phase = probing
		if !k.loose {
			k.renew()
		}
		e.probe = true
		if k.held.bury {
			k.held.bury = false
			s.identify(e, row, k)
			c.records[i] = delivery.Record{Topic: row.Topic, Value: row.Payload, Ref: c.ref(i)}
			if len(row.Key) > 0 {
				c.records[i].Key = row.Key
			}
			c.records[i].Headers, _ = s.headers(row)
			s.bury(c, e, k.held.reason)
			return
		}
		s.send(c, i, row, k)
	default:
		k.held.remove(row.ID)
		s.send(c, i, row, k)
	}
}

// vanished takes note that a held row is pending no more: an operator settled or deleted it.
func (s *session) vanished(k *keyState, id int64) {
	if k == nil || k.held == nil {
		return
	}
	first := len(k.held.ids) > 0 && k.held.ids[0] == id
	k.held.remove(id)
	if k.held.phase != fetching || !first {
		return
	}
	if !k.loose {
		k.renew()
	}
	if k.topic.pause != nil {
		// It may have been the one to tell whether the topic is there again.
		s.probeAgain(k.topic, 0)
		if len(k.held.ids) > 0 {
			k.held.phase = parked
			return
		}
	}
	s.release(k)
}

// suspect queues, of the pending rows that a sweep found, those that are not in hand. They are read
// again before they are sent: what was settled meanwhile is not pending then.
func (s *session) suspect(ids []int64) {
	if len(ids) == 0 {
		return
	}
	unknown := make(map[int64]struct{}, len(ids))
	for _, id := range ids {
		unknown[id] = struct{}{}
	}
	for _, c := range s.chunks {
		for id := range unknown {
			if c.holds(id) {
				delete(unknown, id)
			}
		}
	}
	s.holds(func(k *keyState) {
		for _, id := range k.held.ids {
			delete(unknown, id)
		}
	})
	for _, id := range ids {
		if _, ok := unknown[id]; !ok {
			continue
		}
		if _, queued := s.suspected[id]; !queued {
			s.suspected[id] = struct{}{}
			s.suspects = append(s.suspects, id)
		}
	}
}
