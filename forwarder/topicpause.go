package forwarder

import (
	"container/heap"
	"slices"
	"time"
)

const (
	probeMin = 250 * time.Millisecond
	probeMax = 15 * time.Second
)

// pauseTopic stops sending to a topic that the broker does not know, or lets nobody write to. Other
// topics flow on.
func (s *session) pauseTopic(t *topicState, reason error, probe bool) {
	now := time.Now()
	p := t.pause
	if p == nil {
		t.pause = &pause{since: now, probeWait: probeMin, countAt: now.Add(s.config.TopicRetryMin), countWait: s.config.TopicRetryMin, err: reason}
		s.log.Error("a topic can't be written to; its events wait, other topics flow: create the topic, or let this client write to it",
			"topic", t.name, "error", reason)
		s.probeAgain(t, probeMin)
		return
	}
	p.err = reason
	if !probe {
		return
	}
	if !now.Before(p.countAt) {
		s.countHeads(t)
		p.countWait = min(2*p.countWait, s.config.TopicRetryMax)
		p.countAt = now.Add(p.countWait)
	}
	p.probeWait = min(2*p.probeWait, probeMax)
	s.probeAgain(t, min(p.probeWait, max(probeMin, p.countAt.Sub(now))))
}

// probeAgain sets when the topic is asked next.
func (s *session) probeAgain(t *topicState, after time.Duration) {
	t.pause.probing = false
	t.pause.probeAt = time.Now().Add(after)
	heap.Push(&s.alarms, alarm{at: t.pause.probeAt, topic: t})
}

// probeTopic sends the lowest parked row, alone, to see whether the topic is there again.
func (s *session) probeTopic(t *topicState, now time.Time) {
	p := t.pause
	if p == nil || p.probing || p.probeAt.After(now) {
		return
	}
	var first *keyState
	busy := false
	s.heads(t, parked, func(k *keyState) {
		switch {
		case k.flying > 0:
			busy = true
		case first == nil || k.held.ids[0] < first.held.ids[0]:
			first = k
		}
	})
	switch {
	case first != nil:
		p.probing = true
		first.held.phase = fetching
		s.enqueue(first)
	case busy:
		s.probeAgain(t, probeMin)
	default:
		// Nothing waits for the topic any more: the next row to it will tell.
		t.pause = nil
	}
}

// mended lets everything flow that waited for the topic.
func (s *session) mended(t *topicState) {
	s.log.Info("a paused topic can be written to again", "topic", t.name, "paused_for", time.Since(t.pause.since).Round(time.Millisecond))
	t.pause = nil
	s.heads(t, parked, func(k *keyState) {
		if k.flying > 0 {
			// The verdicts still out decide which of its rows go first.
			k.held.phase, k.held.until = waiting, time.Time{}
			return
		}
		if !k.loose {
			k.renew()
		}
		s.release(k)
	})
}

// countHeads counts an attempt against the first row of each key that waits for the topic. The rows
// without key count as one. Those whose last attempt this was go to the dead letters.
func (s *session) countHeads(t *topicState) {
	heads := map[int64]*keyState{}
	ids := []int64{}
	s.heads(t, parked, func(k *keyState) {
		heads[k.held.ids[0]] = k
		ids = append(ids, k.held.ids[0])
	})
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	reason := t.pause.err
	s.log.Warn("a topic is still paused: counting an attempt against the first event of each key", "topic", t.name, "keys", len(ids),
		"paused_for", time.Since(t.pause.since).Round(time.Second), "error", reason)
	s.metrics.retried(t.name, len(ids))
	s.settler.retry(ids, reason, 0, func(counted []int64) {
		for _, id := range counted {
			delete(heads, id)
		}
		for id, k := range heads {
			if h := k.held; h != nil && h.phase == parked && k.flying == 0 && h.ids[0] == id {
				h.bury, h.reason, h.phase = true, reason, fetching
				s.enqueue(k)
			}
		}
	})
}
