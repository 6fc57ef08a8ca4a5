package watermillsql

import (
	"time"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/forwarder/internal/letters"
	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
)

// bury sends the copy of a message that has no attempts left to the dead letters. Its key waits until the
// copy is acknowledged, and so does the position.
func (s *session) bury(e *entry) {
	death := letters.Death{
		Source: deadletter.SourceWatermill, Reason: e.err, Attempts: max(1, e.attempts), Table: s.tables.messages, Row: e.at.offset,
	}
	// The record has been in no partition: this alone tells which one is its key's.
	if sender, ok := s.config.Sender.(interface{ Partitioner() delivery.Partitioner }); ok {
		death.Partitioner = sender.Partitioner()
	}
	s.sendLetter(e, letters.New(s.config.DeadLetterTopic, &e.record, death))
}

func (s *session) sendLetter(e *entry, letter delivery.Record) {
	e.letter = &letter
	e.key.flying++
	s.flying++
	s.out = append(s.out, e.letter)
}

// buried lets the key, and the position, move on, now that the dead-letter topic has the copy.
func (s *session) buried(e *entry) {
	k := e.key
	s.log.Error("a message is dead: its copy is in the dead-letter topic, its row stays",
		"topic", k.topic.name, "message_uuid", e.uuid(), "table", s.tables.messages, "offset", e.at.offset, "attempts", max(1, e.attempts), "error", e.err)
	s.metrics.dead(k.topic.name)
	s.graves = nil
	s.window.done(e)
	s.release(k)
}

// unburied keeps the key waiting when the copy could not be delivered. A copy that is itself too large
// goes once more without its payload, which the row still has.
func (s *session) unburied(e *entry, verdict delivery.Verdict) {
	letter := e.letter
	if verdict.Fault == delivery.Refused && letter.Value != nil {
		s.sendLetter(e, letters.WithoutPayload(letter))
		return
	}
	e.letter = nil
	k := s.hold(e)
	wait := max(pace.Backoff(s.config.RetryMin, s.config.RetryMax, max(1, e.attempts)), probeMin)
	s.log.Error("the copy of a dead message could not be delivered; nothing behind it is read until it can: create the dead-letter topic, or let this client write to it",
		"dead_letter_topic", s.config.DeadLetterTopic, "message_uuid", e.uuid(), "offset", e.at.offset, "retry_in", wait, "error", verdict.Err)
	s.graves = verdict.Err
	s.wake(k, time.Now().Add(wait))
}

// uuid is the message's, or the row's own when the message can't be told.
func (e *entry) uuid() string {
	if len(e.record.Headers) > 0 {
		return string(e.record.Headers[0].Value)
	}
	return ""
}
