package watermillsql

import (
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
)

// place sends the rows of a chunk on their way, or has them wait behind what holds their key or topic back.
func (s *session) place(c *chunk) {
	s.window.add(c)
	for i := range c.entries {
		e := &c.entries[i]
		t := s.topic(e.record.Topic)
		e.key = t.keyFor(e.record.Key)
		switch {
		case e.err != nil:
			e.doomed = true
			s.ready(s.hold(e), time.Now())
		case e.key.stuck:
			s.hold(e)
		case t.pause != nil:
			s.park(s.hold(e))
		default:
			s.send(e)
		}
	}
}

// send puts a record on its way.
func (s *session) send(e *entry) {
	e.record.Fence = e.key.fence
	e.key.flying++
	s.flying++
	s.out = append(s.out, &e.record)
}

// judge takes the sender's verdicts. What was delivered counts even when the session has to end.
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
			// The position does not pass them.
		case r.verdict.Fault == delivery.Transport:
			// Only a stream that was stopped gives a batch up.
			err = errLease
		default:
			for _, record := range r.records {
				if e := s.window.find(record.Ref); e != nil && !e.done {
					s.undelivered(e, r.verdict)
				}
			}
		}
	}
	return err
}

// permit is asked by the sender before each request. Once it has said no, the sender sends nothing more of
// the stream, so the session ends even if the lease turns out to have survived.
func (s *session) permit() bool {
	if s.lease.Valid() {
		return true
	}
	s.denied.Store(true)
	s.reports.Put(report{verdict: delivery.Verdict{Fault: delivery.Withheld, Err: errLease}})
	return false
}

// delivered takes what the broker acknowledged, and frees the keys that waited for it.
func (s *session) delivered(records []*delivery.Record) {
	now := time.Now()
	var topic string
	sent := 0
	for _, record := range records {
		e := s.window.find(record.Ref)
		if e == nil || e.done {
			continue
		}
		k := e.key
		k.flying--
		s.flying--
		if e.letter != nil {
			s.buried(e)
			continue
		}
		topic = record.Topic
		sent++
		if k.topic.pause != nil {
			s.mended(k.topic)
		}
		s.window.done(e)
		switch {
		case !k.stuck:
			k.forget()
		case e.probe && k.phase == trying:
			s.release(k)
		default:
			s.ready(k, now)
		}
	}
	s.metrics.delivered(topic, sent)
}

// undelivered takes an entry off the wire that the broker does not have.
func (s *session) undelivered(e *entry, verdict delivery.Verdict) {
	e.key.flying--
	s.flying--
	t := e.key.topic
	switch {
	case e.letter != nil:
		s.unburied(e, verdict)
		return
	case verdict.Fault == delivery.Topic:
		s.pauseTopic(t, verdict.Err, e.probe)
		if k := s.hold(e); k.phase == trying {
			k.phase = waiting // to be parked
		}
	case verdict.Fault == delivery.Refused:
		if t.pause != nil {
			s.mended(t)
		}
		s.refused(e, verdict.Err)
	default:
		if k := s.hold(e); k.phase == trying {
			k.phase = waiting
		}
	}
	s.ready(e.key, time.Now())
}

// refused counts an attempt against a message that the broker refuses for its own sake. Its key waits for
// it; after the last attempt a copy goes to the dead letters. A session that stops spends the attempts at
// once: whatever the position does not pass would be delivered twice.
func (s *session) refused(e *entry, reason error) {
	e.attempts++
	e.err = reason
	e.doomed = e.attempts >= s.config.Attempts
	k := s.hold(e)
	var wait time.Duration
	if !e.doomed {
		if !s.draining {
			wait = pace.Backoff(s.config.RetryMin, s.config.RetryMax, e.attempts)
		}
		s.log.Warn("a message was refused; its key waits, others flow", "topic", k.topic.name, "message_uuid", e.uuid(),
			"offset", e.at.offset, "attempt", e.attempts, "attempts", s.config.Attempts, "retry_in", wait, "error", reason)
	}
	s.metrics.retried(k.topic.name)
	s.wake(k, time.Now().Add(wait))
}
