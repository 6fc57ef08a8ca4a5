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
	return d - time.Duration(rand.Int64N(int64(d)/2+1))
}
