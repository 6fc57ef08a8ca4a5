package watermillsql

import (
	"container/heap"
	"fmt"
	"time"
)

const (
	probeMin = 250 * time.Millisecond
	probeMax = 15 * time.Second
)

// pause is the state of a topic that can't be written to: unknown, or not authorised. It is the topic's
// fault, so nothing is counted: one row asks again and again whether it is mended.
type pause struct {
	since   time.Time
	at      time.Time
	wait    time.Duration
	probing bool
	err     error
}

// pauseTopic notes that a topic can't be written to. Nothing more is read meanwhile: the position can't
// pass its rows, and what was delivered behind them would be delivered twice by whoever starts from there.
func (s *session) pauseTopic(t *topicState, reason error, probe bool) {
	if t.pause == nil {
		now := time.Now()
		t.pause = &pause{since: now, wait: probeMin}
		s.paused++
		s.log.Error("a topic can't be written to; nothing behind its first message is read until it can: create the topic, or let this client write to it",
			"topic", t.name, "error", reason)
		probe = true
	} else if probe {
		t.pause.wait = min(2*t.pause.wait, probeMax)
	}
	t.pause.err = reason
	if probe {
		s.probeAgain(t, t.pause.wait)
	}
}

// park has a key wait for its topic.
func (s *session) park(k *keyState) {
	k.stuck, k.phase = true, parked
	k.topic.parked[k] = struct{}{}
}

// probeAgain sets when the topic is asked next.
func (s *session) probeAgain(t *topicState, after time.Duration) {
	t.pause.probing = false
	t.pause.at = time.Now().Add(after)
	heap.Push(&s.alarms, alarm{at: t.pause.at, topic: t})
}

// probeTopic sends the first parked row, alone, to see whether the topic is there again. A session that
// stops asks no more.
func (s *session) probeTopic(t *topicState, now time.Time) {
	p := t.pause
	if p == nil || p.probing || p.at.After(now) || s.draining {
		return
	}
	var first *keyState
	for k := range t.parked {
		if k.flying == 0 && (first == nil || k.held[0].number < first.held[0].number) {
			first = k
		}
	}
	if first == nil {
		s.probeAgain(t, probeMin)
		return
	}
	p.probing = true
	delete(t.parked, first)
	s.try(first)
}

// mended lets everything flow that waited for the topic.
func (s *session) mended(t *topicState) {
	s.log.Info("a paused topic can be written to again", "topic", t.name, "paused_for", time.Since(t.pause.since).Round(time.Millisecond))
	t.pause = nil
	s.paused--
	parked := t.parked
	t.parked = map[*keyState]struct{}{}
	for k := range parked {
		if k.flying > 0 {
			// The verdicts still out decide which of its rows go first.
			k.phase, k.until = waiting, time.Time{}
			continue
		}
		s.release(k)
	}
}

// blocked is what keeps the session from reading on, nil for nothing.
func (s *session) blocked() error {
	switch {
	case s.rival != nil:
		return s.rival
	case s.graves != nil:
		return fmt.Errorf("the dead-letter topic %s takes no copy, and the position can't pass the message: create it, or let this client write to it: %w", s.config.DeadLetterTopic, s.graves)
	case s.paused > 0:
		for _, t := range s.topics {
			if t.pause != nil {
				return fmt.Errorf("topic %s can't be written to, and the position can't pass its message: create it, or let this client write to it: %w", t.name, t.pause.err)
			}
		}
	}
	return nil
}
