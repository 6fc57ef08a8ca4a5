package kafka

import (
	"math"
	"time"
)

// idleRefreshes is for how many times the refresh a topic must have had no record to be forgotten: five minutes
// with the defaults, as Java's metadata.max.idle.ms.
const idleRefreshes = 5

// forgetIdle forgets the topics that had no record for a while: names may be made from data, one a tenant. s.mu
// is held.
func (s *Sender) forgetIdle(fx *effects, now time.Time) {
	for name, t := range s.topics {
		if now.Sub(t.used) < idleRefreshes*s.config.MetadataRefresh || !t.idle() {
			continue
		}
		s.relieveTopic(fx, t)
		for _, l := range t.all {
			if l.identity.newer(s.spent) {
				s.spent = l.identity
			}
		}
		delete(s.topics, name)
	}
}

// idle reports whether nothing of the topic is under way, and nothing may still arrive that was given up: that
// its lane has to fence off.
func (t *topic) idle() bool {
	if t.frozen || t.state == topicDraining || len(t.pending) > 0 {
		return false
	}
	for _, l := range t.all {
		if l.busy || l.ready || l.pausing || l.parked || l.head != nil || l.queue.len() > 0 || l.fault != nil || l.troubled != nil || l.renew == renewEpoch {
			return false
		}
	}
	return true
}

// newer reports whether a partition that has seen other takes batches of i from sequence 0 on.
func (i identity) newer(other identity) bool {
	return i.generation > other.generation || i.generation == other.generation && i.epoch > other.epoch
}

// fresh returns the newest identity in the epoch behind those in which lanes that are forgotten have sent: at
// their partitions, a sequence that starts over would pass as a duplicate. It reports false when that id has no
// epoch left.
func (s *Sender) fresh() (identity, bool) {
	i := s.identity
	if s.spent.generation == i.generation && i.generation > 0 {
		if s.spent.epoch == math.MaxInt16 {
			return i, false
		}
		i.epoch = max(i.epoch, s.spent.epoch+1)
	}
	return i, true
}
