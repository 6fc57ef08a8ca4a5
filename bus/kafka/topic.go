package kafka

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// topic is what the sender knows of a topic. Its fields are guarded by the sender's lock.
type topic struct {
	name    string
	lanes   []*lane // by partition
	all     []*lane // those too whose partition is gone: a lane's sequence must never start over
	id      sarama.Uuid
	state   topicState
	frozen  bool      // reports of its pending records are being made
	pending []entry   // that have no lane yet
	count   int32     // partitions, by the newest metadata
	used    time.Time // when it last got a record

	askAt        time.Time // when metadata is due; zero: not
	askTries     int
	known        bool // it has existed, or its creation was acknowledged
	missingSince time.Time
	created      bool // its creation was asked for since it was last missing

	limit      int // max.message.bytes, 0 when not known
	guess      int // at what a batch may still be too large, 0 for none
	limitDue   bool
	limitAsked time.Time

	sticky     int // the lane of records without key
	stickyLeft int
}

type topicState uint8

const (
	// topicAsking: metadata is awaited; records wait in pending.
	topicAsking topicState = iota
	// topicReady: records go to their lanes.
	topicReady
	// topicDraining: it has more partitions than lanes. Keys move between partitions, so records wait in
	// pending until every lane is empty.
	topicDraining
)

// topic returns the topic of that name, new or old. s.mu is held.
func (s *Sender) topic(name string) *topic {
	t := s.topics[name]
	if t == nil {
		t = &topic{name: name}
		s.topics[name] = t
	}
	return t
}

// stickyRecords without key go to one partition before the next one's turn: batches, yet all partitions.
const stickyRecords = 256

// rotate moves records without key on to the next partition that is not in trouble.
func (t *topic) rotate() {
	t.stickyLeft = stickyRecords
	if len(t.lanes) == 0 {
		return
	}
	t.sticky = (t.sticky + 1) % len(t.lanes)
	for i := range t.lanes {
		next := (t.sticky + i) % len(t.lanes)
		if l := t.lanes[next]; l.troubled == nil && l.leader >= 0 {
			t.sticky = next
			return
		}
	}
}

// lane returns the lane of a record.
func (t *topic) lane(record *delivery.Record, hash uint32) *lane {
	if record.Key != nil {
		partitions := int32(len(t.lanes)) //nolint:gosec // a partition count
		if record.Route != nil {
			return t.lanes[routed(record.Key, *record.Route, hash, partitions)]
		}
		return t.lanes[keyPartition(hash, partitions)]
	}
	if t.stickyLeft == 0 {
		t.rotate()
	}
	t.stickyLeft--
	return t.lanes[t.sticky]
}

// setPartitions takes the number of partitions from metadata and, as soon as nothing of the topic is
// under way, the lanes with it. s.mu is held.
func (s *Sender) setPartitions(fx *effects, t *topic, count int32, id sarama.Uuid) {
	if int(count) < len(t.lanes) && id == t.id && id != (sarama.Uuid{}) {
		return // a topic never shrinks: this broker does not know the newest yet
	}
	t.count, t.id = count, id
	if int(count) == len(t.lanes) {
		t.state = topicReady
		s.assignPending(fx, t)
		return
	}
	t.state = topicDraining
	s.settleTopic(fx, t)
}

// settleTopic gives a draining topic its new lanes once the old ones are empty. s.mu is held.
func (s *Sender) settleTopic(fx *effects, t *topic) {
	if t.state != topicDraining {
		return
	}
	for _, l := range t.lanes {
		if l.partition >= t.count && !l.busy {
			s.vacate(fx, l)
		}
	}
	for _, l := range t.lanes {
		if l.busy || l.head != nil || l.queue.len() > 0 {
			return
		}
	}
	for partition := int32(len(t.all)); partition < t.count; partition++ { //nolint:gosec // a partition count
		t.all = append(t.all, &lane{topic: t, partition: partition, leader: -1})
	}
	t.lanes = t.all[:t.count]
	t.sticky = 0
	t.state = topicReady
	if len(t.pending) > 0 {
		s.askSoon(t) // the new lanes' leaders
	}
	s.assignPending(fx, t)
}

// vacate takes everything from a lane whose partition is gone, since the topic was deleted and made anew
// with fewer: it waits for another lane. s.mu is held, the lane is not busy.
func (s *Sender) vacate(fx *effects, l *lane) {
	var entries []entry
	if b := l.head; b != nil {
		entries = b.entries
		s.done(fx, l)
	}
	entries = append(entries, l.queue.waiting()...)
	l.take(l.queue.len())
	l.topic.pending = append(entries, l.topic.pending...)
}

// assignPending gives the records that waited to their lanes. s.mu is held.
func (s *Sender) assignPending(_ *effects, t *topic) {
	if t.state != topicReady || t.frozen {
		return
	}
	pending := t.pending
	t.pending = nil
	for _, e := range pending {
		l := t.lane(e.record, s.hash(e.record.Key))
		l.queue.push(e)
		s.enqueue(l)
	}
}

// failTopic gives everything the topic holds the same verdict, and forgets what made it usable: the next
// record asks metadata anew. s.mu is held.
func (s *Sender) failTopic(fx *effects, t *topic, verdict delivery.Verdict) {
	t.state = topicAsking
	t.known, t.created = false, false
	t.missingSince = time.Time{}
	t.askAt = time.Time{}
	t.askTries = 0
	t.limit = 0
	s.relieveTopic(fx, t)
	for _, l := range t.lanes {
		s.flush(fx, l, verdict)
	}
	pending := t.pending
	t.pending = nil
	if len(pending) > 0 {
		// What comes meanwhile must not be reported first.
		t.frozen = true
		fx.thaw = append(fx.thaw, t)
		fx.reportEntries(pending, verdict)
	} else if len(t.lanes) == 0 {
		delete(s.topics, t.name)
	}
	s.config.Logger.Warn("kafka: a topic takes no records", "topic", t.name, "fault", verdict.Fault.String(), "error", verdict.Err)
}

// thaw lets go of a failed topic after its records were reported. s.mu is held.
func (s *Sender) thaw(fx *effects, t *topic) {
	t.frozen = false
	s.assignPending(fx, t)
	switch {
	case t.state == topicAsking && len(t.pending) > 0:
		s.wakeControl()
	case t.state == topicAsking && len(t.lanes) == 0:
		delete(s.topics, t.name)
	}
}

// legalTopic says whether a topic can have this name, as org.apache.kafka.common.internals.Topic does.
func legalTopic(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a topic needs a name")
	case name == "." || name == "..":
		return fmt.Errorf("a topic cannot be named %q", name)
	case len(name) > 249:
		return fmt.Errorf("a topic's name has at most 249 characters, this one %d", len(name))
	}
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("a topic's name has only letters, digits, '.', '_' and '-'")
		}
	}
	return nil
}
