package kafka

import (
	"errors"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// request is a produce request and the batches in it, the heads of its lanes.
type request struct {
	conn  *connection
	lanes []*lane
	size  int
}

// collect takes the heads of the lanes that are ready, as far as one request goes.
func (l *leader) collect() *request {
	s := l.sender
	fx := new(effects)
	r := &request{conn: l.conn}
	s.mu.Lock()
	lanes := l.lanes
	l.lanes = nil
	for i, lane := range lanes {
		lane.ready = false
		if lane.leader != l.id {
			s.enqueue(lane)
			continue
		}
		if !l.take(fx, r, lane) {
			lane.ready = true
			l.lanes = append(l.lanes, lanes[i:]...)
			break
		}
	}
	if len(r.lanes) > 0 {
		l.conn.inFlight++
		l.conn.used = time.Now()
	}
	s.mu.Unlock()
	s.run(fx)
	if len(r.lanes) == 0 {
		return nil
	}
	return r
}

// take adds the lane's head to the request; false if it does not go in. s.mu is held.
func (l *leader) take(fx *effects, r *request, lane *lane) bool {
	s := l.sender
	if lane.busy || lane.pausing || lane.parked || (lane.head == nil && lane.queue.len() == 0) {
		return true // it will be enqueued again when it can be sent
	}
	if lane.head == nil {
		if r.size >= s.config.RequestBytes {
			return false
		}
		if lane.head = s.build(fx, lane); lane.head == nil {
			lane.busy = true
			fx.release = append(fx.release, lane)
			return true
		}
	}
	b := lane.head
	if len(r.lanes) > 0 && (r.size+b.size > s.config.RequestBytes || b.solo || r.lanes[0].head.solo) {
		return false
	}
	if !b.unknown && !lane.room(len(b.records)) {
		lane.renew = max(lane.renew, renewEpoch)
	}
	if !s.identify(lane) {
		return true
	}
	lane.busy = true
	b.wired = true
	r.lanes = append(r.lanes, lane)
	r.size += b.size
	return true
}

// permit asks the streams of the request whether they may still send, and drops the batches of those
// that may not.
func (l *leader) permit(r *request) {
	s := l.sender
	var asked, denied []*stream
	for _, lane := range r.lanes {
		st := lane.head.stream
		if slices.Contains(asked, st) {
			continue
		}
		asked = append(asked, st)
		if st.config.Permit != nil && !st.config.Permit() {
			denied = append(denied, st)
		}
	}
	fx := new(effects)
	s.mu.Lock()
	for _, st := range denied {
		s.halt(fx, st, errNotPermitted)
	}
	r.lanes = slices.DeleteFunc(r.lanes, func(lane *lane) bool {
		b := lane.head
		if !b.stream.stopped {
			return false
		}
		b.wired = false
		if b.forsaken {
			s.done(fx, lane)
		} else {
			s.abandon(fx, lane, errNotPermitted)
		}
		fx.release = append(fx.release, lane)
		return true
	})
	if len(r.lanes) == 0 {
		r.conn.inFlight--
	}
	s.mu.Unlock()
	s.run(fx)
}

var errNotPermitted = errors.New("kafka: the stream may not send any more")

// send puts the request on the wire.
func (l *leader) send(r *request) {
	s := l.sender
	now := time.Now()
	for _, lane := range r.lanes {
		lane.head.encode(s, now)
	}
	l.permit(r)
	if len(r.lanes) == 0 {
		return
	}
	produce := &sarama.ProduceRequest{
		RequiredAcks: sarama.WaitForAll,
		Timeout:      int32(s.config.Config.ackTimeout().Milliseconds()), //nolint:gosec // milliseconds
		Version:      s.produceVersion(),
	}
	for _, lane := range r.lanes {
		encoded := lane.head.encoded
		encoded.ProducerID = lane.identity.id
		encoded.ProducerEpoch = lane.identity.epoch
		encoded.FirstSequence = lane.sequence
		produce.AddBatch(lane.topic.name, lane.partition, encoded)
	}
	err := r.conn.broker.AsyncProduce(produce, func(response *sarama.ProduceResponse, err error) {
		l.settle(r, response, err)
	})
	if err != nil {
		l.settle(r, nil, err)
	}
}

func (s *Sender) produceVersion() int16 {
	switch {
	case s.sarama.Version.IsAtLeast(sarama.V2_4_0_0):
		return 8 // the broker says why it refuses (KIP-467); 9 costs another pass over the records
	case s.sarama.Version.IsAtLeast(sarama.V2_1_0_0):
		return 7 // zstd
	default:
		return 3
	}
}

// settle gives every batch of the request its due.
func (l *leader) settle(r *request, response *sarama.ProduceResponse, err error) {
	s := l.sender
	fx := new(effects)
	s.mu.Lock()
	r.conn.inFlight--
	kind := classifyRequest(err)
	switch {
	case err == nil:
		l.failures = 0
		if response.ThrottleTime > 0 { // sarama would hold the next request back after it was permitted
			l.notBefore = time.Now().Add(response.ThrottleTime)
		}
	case kind != tooLarge:
		if !r.conn.broken {
			r.conn.broken = true
			l.backOff()
		}
	}
	for _, lane := range r.lanes {
		b := lane.head
		b.wired = false
		fx.release = append(fx.release, lane)
		switch {
		case b.forsaken:
			s.done(fx, lane)
		case err == nil:
			if block := response.GetBlock(lane.topic.name, lane.partition); block != nil {
				s.answer(fx, lane, block)
			} else {
				s.retry(fx, lane, sarama.ErrIncompleteResponse, true)
			}
		case kind == tooLarge && len(r.lanes) > 1: // which one it is shows when each goes alone
			b.solo = true
		case kind == tooLarge:
			s.refuse(fx, lane, err)
		default:
			s.again(fx, lane, err, kind == unknown)
			s.askSoon(lane.topic)
		}
	}
	l.kick()
	s.mu.Unlock()
	s.run(fx)
}
