package kafka

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// leader sends to one broker what its lanes have, on a connection of its own. Its fields are guarded by
// the sender's lock, except conn, which only its goroutine touches.
type leader struct {
	sender *Sender
	id     int32
	wake   chan struct{}
	conn   *connection

	lanes     []*lane // that have something to send
	failures  int
	notBefore time.Time
}

// connection is a connection and what is known of it. broken and inFlight are guarded by the sender's lock.
type connection struct {
	broker   *sarama.Broker
	address  string
	inFlight int
	broken   bool
	used     time.Time
}

// idleTimeout is below what brokers and what is between them and us give idle connections: a connection
// they closed would cost a failed request.
const idleTimeout = 3 * time.Minute

// leader returns the leader of that id, running. s.mu is held.
func (s *Sender) leader(id int32) *leader {
	l := s.leaders[id]
	if l == nil {
		l = &leader{sender: s, id: id, wake: make(chan struct{}, 1)}
		s.leaders[id] = l
		s.running.Go(l.run)
	}
	return l
}

// add puts a lane on the list. s.mu is held.
func (l *leader) add(lane *lane) {
	lane.ready = true
	l.lanes = append(l.lanes, lane)
	l.kick()
}

func (l *leader) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *leader) run() {
	timer := time.NewTimer(idleTimeout)
	defer timer.Stop()
	for {
		wait := l.step()
		if wait <= 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-l.sender.stop.Done():
			l.disconnect()
			return
		}
	}
}

// step sends one request, if it can, and otherwise says how long to wait unless woken.
func (l *leader) step() time.Duration {
	s := l.sender
	if s.stop.Err() != nil {
		return idleTimeout
	}
	s.mu.Lock()
	now := time.Now()
	address := s.brokers[l.id]
	stale := l.conn != nil && (l.conn.broken || (l.conn.address != address && l.conn.inFlight == 0) ||
		(len(l.lanes) == 0 && l.conn.inFlight == 0 && now.Sub(l.conn.used) >= idleTimeout))
	full := l.conn != nil && l.conn.inFlight >= s.config.MaxInFlight
	idle := len(l.lanes) == 0
	pause := l.notBefore.Sub(now)
	s.mu.Unlock()

	switch {
	case stale:
		l.disconnect()
		return 0
	case idle || full:
		return idleTimeout
	case pause > 0:
		return pause
	case l.conn == nil:
		if err := l.connect(address); err != nil {
			l.fail(err)
			return 0
		}
	}
	if r := l.collect(); r != nil {
		l.send(r)
	}
	return 0
}

func (l *leader) connect(address string) error {
	if address == "" {
		return sarama.ErrBrokerNotFound
	}
	broker, err := l.sender.dialBroker(address)
	if err != nil {
		return err
	}
	l.conn = &connection{broker: broker, address: address, used: time.Now()}
	return nil
}

// dialBroker makes a connection and waits for it.
func (s *Sender) dialBroker(address string) (*sarama.Broker, error) {
	broker := sarama.NewBroker(address)
	if err := broker.Open(s.sarama); err != nil {
		return nil, err
	}
	connected, err := broker.Connected()
	if err == nil && !connected {
		err = sarama.ErrNotConnected
	}
	if err != nil {
		_ = broker.Close()
		if errors.Is(err, io.EOF) {
			// Brokers that want another protocol, or close on a failed login, give no better answer.
			return nil, fmt.Errorf("connecting to %s: it hung up (%w); is SecurityProtocol right, and the SASL login?", address, err)
		}
		return nil, fmt.Errorf("connecting to %s: %w", address, err)
	}
	return broker, nil
}

// disconnect closes the connection. The answers it still awaits come as errors before it returns.
func (l *leader) disconnect() {
	if l.conn != nil {
		_ = l.conn.broker.Close()
		l.conn = nil
	}
}

// fail backs off after a connection could not be made, and asks whether the lanes have moved.
func (l *leader) fail(err error) {
	s := l.sender
	fx := new(effects)
	s.mu.Lock()
	l.backOff()
	for _, lane := range slices.Clone(l.lanes) {
		st := lane.stream()
		if st == nil {
			continue
		}
		s.troubled(fx, lane, st, err)
		s.askSoon(lane.topic)
	}
	s.mu.Unlock()
	s.run(fx)
}

// backOff holds the leader back after a failure. s.mu is held.
func (l *leader) backOff() {
	l.notBefore = time.Now().Add(l.sender.backoff(l.failures))
	l.failures++
}

// backoff is the pause after so many failures before the last.
func (s *Sender) backoff(failures int) time.Duration {
	d := s.config.RetryBackoffMax
	if failures < 30 {
		d = min(d, s.config.RetryBackoff<<failures)
	}
	return d - time.Duration(rand.Int64N(int64(d)/2+1)) //nolint:gosec // jitter
}

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
