package forwarder

import (
	"time"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/forwarder/internal/letters"
	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
)

// bury sends the copy of an event that has no attempts left to the dead letters. Its key waits for the
// copy to be acknowledged and for the death to be committed, in this order: a crash between the two
// makes a second copy, never none.
func (s *session) bury(c *chunk, e *entry, reason error) {
	k := e.key
	h := s.hold(k, burying)
	h.phase, h.reason = burying, reason
	e.copy = true
	i := int(c.index(e))
	c.records[i] = letters.New(s.config.DeadLetterTopic, &c.records[i], letters.Death{
		Source: deadletter.SourceOutbox, Reason: reason, Attempts: int(e.retries) + 1, Row: e.id,
	})
	k.flying++
	s.out = append(s.out, &c.records[i])
}

// buried commits the death, now that the dead-letter topic has the copy, and lets the key move on.
func (s *session) buried(c *chunk, e *entry) {
	k := e.key
	s.log.Error("an event is dead: its copy is in the dead-letter topic, its row stays; mend the cause, then set retry_count = 0 to send it again",
		"topic", e.topic.name, "event_id", e.eventID, "row", e.id, "attempts", e.retries+1, "error", k.held.reason)
	s.metrics.dead(e.topic.name)
	s.settler.kill(e.id, k.held.reason, func() {
		s.finish(c, e)
		if k.held == nil || k.held.phase != burying {
			return
		}
		if k.flying > 0 {
			// What was sent behind it is still to come back, and goes first.
			k.held.phase, k.held.until = waiting, time.Time{}
			return
		}
		if !k.loose {
			k.renew()
		}
		if k.topic.pause != nil {
			k.held.phase = parked
			if len(k.held.ids) == 0 {
				s.release(k)
			}
			return
		}
		s.release(k)
	})
}

// unburied keeps the key waiting when the copy could not be delivered. A copy that is itself too large
// goes once more without its payload, which the row still has.
func (s *session) unburied(c *chunk, e *entry, verdict delivery.Verdict) {
	k := e.key
	record := &c.records[c.index(e)]
	if verdict.Fault == delivery.Refused && record.Value != nil {
		*record = letters.WithoutPayload(record)
		k.flying++
		s.out = append(s.out, record)
		return
	}
	wait := max(pace.Backoff(s.config.RetryMin, s.config.RetryMax, int(e.retries)+1), probeMin)
	s.log.Error("the copy of a dead event could not be delivered; its key waits: create the dead-letter topic, or let this client write to it",
		"dead_letter_topic", s.config.DeadLetterTopic, "event_id", e.eventID, "row", e.id, "retry_in", wait, "error", verdict.Err)
	s.hold(k, waiting).add(e.id)
	s.finish(c, e)
	s.wake(k, time.Now().Add(wait))
}
