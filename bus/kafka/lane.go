package kafka

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// lane is the way to one partition. One batch of it is in flight at a time, so what is behind it waits
// for its verdict. Its fields are guarded by the sender's lock.
type lane struct {
	topic     *topic
	partition int32
	leader    int32 // the broker's id, -1 when not known

	queue queue
	head  *batch // to be sent, on the wire, or to be sent again

	busy    bool // its head is on the wire, or a report of it is being made
	ready   bool // in its leader's list
	pausing bool // a timer will make it ready
	parked  bool // it waits for an identity

	identity identity
	sequence int32
	renew    renewal

	// After a refusal the cause is among the next suspect records, and a batch takes at most half as many
	// as were refused; twice as many each time that goes well.
	suspect int
	half    int

	fault    *delivery.Verdict // for everything queued, once the lane is not busy
	troubled *stream
}

var (
	errFenced   = errors.New("kafka: an earlier record of the same key was not delivered; send the key's records again, in order, under a new fence")
	errNoAnswer = errors.New("kafka: the broker did not answer in time; the record may have been appended")
)

func withheld(err error) delivery.Verdict {
	return delivery.Verdict{Fault: delivery.Withheld, Err: err, Partition: -1, Offset: -1}
}

// enqueue puts a lane that has something to send on its leader's list. s.mu is held.
func (s *Sender) enqueue(l *lane) {
	if l.busy || l.ready || l.pausing || l.parked || (l.head == nil && l.queue.len() == 0) {
		return
	}
	if l.leader < 0 {
		s.ask(l.topic)
		return
	}
	if !s.identify(l) {
		return
	}
	s.leader(l.leader).add(l)
}

// pause makes the lane ready after a while. s.mu is held.
func (s *Sender) pause(l *lane, d time.Duration) {
	if l.pausing {
		return
	}
	l.pausing = true
	time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		l.pausing = false
		s.enqueue(l)
	})
}

// release lets the lane go on after its reports were made. s.mu is held.
func (s *Sender) release(fx *effects, l *lane) {
	l.busy = false
	if l.fault != nil {
		s.flush(fx, l, *l.fault)
		return
	}
	if l.head != nil && l.head.stream.stopped {
		// Its turn may never come: the broker can be away for longer than the stream's Close may wait.
		l.busy = true
		s.abandon(fx, l, ErrClosed)
		fx.release = append(fx.release, l)
		return
	}
	s.enqueue(l)
	s.settleTopic(fx, l.topic)
}

// build takes the next batch from the queue, or nothing if all that waits is withheld. s.mu is held.
func (s *Sender) build(fx *effects, l *lane) *batch {
	limit := min(l.topic.batchBytes(), s.config.BatchBytes)
	count := s.config.BatchRecords
	waiting := l.queue.waiting()
	if l.suspect > 0 {
		count = min(count, max(l.half, 1))
		waiting = waiting[:min(l.suspect, len(waiting))]
	}
	st := waiting[0].stream
	size, n := batchOverhead, 0
	records := make([]*delivery.Record, 0, min(len(waiting), count, 1+limit/minRecordSize))
	for _, e := range waiting {
		if e.stream != st || len(records) == count {
			break
		}
		if e.record.Fence.Closed() {
			n++
			continue
		}
		more := recordSize(e.record)
		if len(records) > 0 && size+more > limit {
			break
		}
		records = append(records, e.record)
		size += more
		n++
	}
	entries := slices.Clone(waiting[:n])
	l.take(n)
	if len(records) == 0 {
		fx.reportEntries(entries, withheld(errFenced))
		return nil
	}
	return &batch{stream: st, size: size, records: records, entries: entries}
}

// minRecordSize only bounds what is allocated for a batch in advance.
const minRecordSize = 128

func (l *lane) take(n int) {
	l.queue.shift(n)
	l.suspect = max(0, l.suspect-n)
}

// done ends the head, which has been reported. s.mu is held.
func (s *Sender) done(fx *effects, l *lane) {
	s.drop(l)
	if l.troubled != nil {
		fx.relieve(l.troubled, l)
		l.troubled = nil
	}
}

// drop lets go of the head. If it may have been appended, the next batch, under the same sequence, would
// pass as its duplicate and be lost, or the head could still arrive behind it: the lane needs an epoch
// that fences the head off. s.mu is held.
func (s *Sender) drop(l *lane) {
	if l.head.unknown {
		l.renew = max(l.renew, renewEpoch)
	}
	l.head.free(s)
	l.head = nil
}

// delivered: the head was appended. s.mu is held, the lane is busy.
func (s *Sender) delivered(fx *effects, l *lane, offset int64) {
	b := l.head
	l.sequence += int32(len(b.records)) //nolint:gosec // identify keeps it in range
	b.unknown = false
	l.half = min(2*l.half, s.config.BatchRecords)
	fx.reportBatch(b, delivery.Verdict{Fault: delivery.Delivered, Partition: l.partition, Offset: offset})
	s.done(fx, l)
}

// again: the head was not appended, or may not have been, for the transport's sake. s.mu is held.
func (s *Sender) again(fx *effects, l *lane, err error, mayBeAppended bool) {
	b := l.head
	b.unknown = b.unknown || mayBeAppended
	b.attempts++
	if b.stream.stopped {
		s.abandon(fx, l, err)
		return
	}
	s.troubled(fx, l, b.stream, err)
}

func (s *Sender) troubled(fx *effects, l *lane, st *stream, err error) {
	if l.troubled != nil && l.troubled != st {
		fx.relieve(l.troubled, l)
	}
	l.troubled = st
	fx.trouble(st, l, fmt.Errorf("kafka: topic %s partition %d: %w", l.topic.name, l.partition, err))
}

// abandon gives the head up because its stream was stopped. s.mu is held.
func (s *Sender) abandon(fx *effects, l *lane, err error) {
	b := l.head
	verdict := withheld(err)
	if b.unknown {
		verdict = delivery.Verdict{Fault: delivery.Transport, Err: fmt.Errorf("kafka: given up, though it may have been appended: %w", err), Partition: l.partition, Offset: -1}
	}
	fx.reportBatch(b, verdict)
	s.done(fx, l)
}

// refuse: the head was not appended because of what is in it. A batch of one is the record's own fault;
// any other is halved under the same sequence. s.mu is held, the lane is busy.
func (s *Sender) refuse(fx *effects, l *lane, err error) {
	b := l.head
	if len(b.records) == 1 {
		fx.reportBatch(b, delivery.Verdict{
			Fault:     delivery.Refused,
			Err:       fmt.Errorf("kafka: topic %s refuses the record of %d bytes: %w", l.topic.name, b.size-batchOverhead, err),
			Partition: l.partition, Offset: -1,
		})
		s.done(fx, l)
		l.half = l.suspect // the others may all be innocent
		return
	}
	if b.stream.stopped {
		s.abandon(fx, l, err) // as in release
		return
	}
	l.suspect += len(b.entries)
	l.half = (len(b.records) + 1) / 2
	l.queue.unshift(b.entries)
	s.drop(l)
}

// flush gives everything the lane holds the same verdict, in order. s.mu is held.
func (s *Sender) flush(fx *effects, l *lane, verdict delivery.Verdict) {
	if l.busy {
		if l.queue.len() > 0 {
			l.fault = &verdict
		}
		return
	}
	l.fault = nil
	if l.head == nil && l.queue.len() == 0 {
		return
	}
	l.busy = true
	if b := l.head; b != nil {
		fx.reportBatch(b, verdict)
		s.done(fx, l)
	}
	if l.troubled != nil {
		fx.relieve(l.troubled, l)
		l.troubled = nil
	}
	entries := l.queue.waiting()
	fx.reportEntries(entries, verdict)
	l.take(len(entries))
	fx.release = append(fx.release, l)
}

// answer settles the head by the broker's answer for its partition. s.mu is held, the lane is busy.
func (s *Sender) answer(fx *effects, l *lane, block *sarama.ProduceResponseBlock) {
	var err error = block.Err
	if block.ErrorMessage != nil && *block.ErrorMessage != "" {
		err = fmt.Errorf("%w (%s)", block.Err, *block.ErrorMessage)
	}
	b := l.head
	switch classify(block.Err) {
	case appended:
		switch {
		case block.Err == sarama.ErrNoError:
			s.delivered(fx, l, block.Offset)
		case b.unknown:
			s.delivered(fx, l, -1)
		default: // a duplicate of what was never sent is another batch
			s.reidentify(fx, l, err)
		}
	case unknown:
		s.retry(fx, l, err, true)
	case unsent:
		s.retry(fx, l, err, false)
	case garbled:
		if b.garbled++; b.garbled < 3 {
			s.retry(fx, l, err, false)
		} else {
			s.refuse(fx, l, err)
		}
	case tooLarge:
		s.shrink(l.topic, b)
		s.refuse(fx, l, err)
	case refused:
		s.refuse(fx, l, err)
	case staleIdentity:
		s.reidentify(fx, l, err)
	case topicFault:
		s.topicFault(fx, l, delivery.Verdict{Fault: delivery.Topic, Err: topicError(l.topic.name, err), Partition: -1, Offset: -1})
	case illegalTopic:
		s.topicFault(fx, l, delivery.Verdict{Fault: delivery.Refused, Err: topicError(l.topic.name, err), Partition: -1, Offset: -1})
	}
}

// reidentify sends the head again under a new producer id. s.mu is held.
func (s *Sender) reidentify(fx *effects, l *lane, err error) {
	b := l.head
	l.renew = renewID
	b.unknown = false
	b.attempts++
	if b.stream.stopped {
		s.abandon(fx, l, err)
	} else if b.attempts > 1 {
		s.troubled(fx, l, b.stream, err)
		s.pause(l, s.backoff(b.attempts-1))
	}
}

// retry sends the head again after a pause, by when metadata may name another leader. s.mu is held.
func (s *Sender) retry(fx *effects, l *lane, err error, mayBeAppended bool) {
	b := l.head
	s.again(fx, l, err, mayBeAppended)
	if l.head != b {
		return
	}
	s.pause(l, s.backoff(b.attempts-1))
	s.askSoon(l.topic)
}

// topicFault gives everything the topic holds the same verdict; the busy lanes get it when they are
// released. s.mu is held.
func (s *Sender) topicFault(fx *effects, l *lane, verdict delivery.Verdict) {
	fx.reportBatch(l.head, verdict)
	s.done(fx, l)
	for _, other := range l.topic.lanes {
		s.flush(fx, other, verdict)
	}
}

func topicError(name string, err error) error {
	return fmt.Errorf("kafka: topic %q: %w", name, err)
}

// room reports whether the sequence has room for n more records of the present identity.
func (l *lane) room(n int) bool { return int64(l.sequence)+int64(n) <= math.MaxInt32 }

// stream is whose records are next on the lane.
func (l *lane) stream() *stream {
	switch {
	case l.head != nil:
		return l.head.stream
	case l.queue.len() > 0:
		return l.queue.waiting()[0].stream
	default:
		return nil
	}
}
