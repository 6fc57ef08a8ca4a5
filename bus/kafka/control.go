package kafka

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// connError is a failure of the connection, not an answer.
type connError struct{ err error }

func (e connError) Error() string { return e.err.Error() }
func (e connError) Unwrap() error { return e.err }

// control asks the cluster what the sender needs to know, on a connection of its own: a producer id,
// topics, their limits. No lane with a leader waits for it.
func (s *Sender) control() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var conn *sarama.Broker
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	seed, failures := 0, 0
	var used time.Time
	for {
		w := s.work()
		if w.nothing() {
			timer.Reset(w.wait)
			select {
			case <-s.wake:
			case <-timer.C:
			case <-s.stop.Done():
				return
			}
			continue
		}
		if s.stop.Err() != nil {
			return
		}
		var err error
		if conn != nil && time.Since(used) >= idleTimeout {
			_ = conn.Close()
			conn = nil
		}
		if conn == nil {
			addresses := s.addresses()
			conn, err = s.dialBroker(addresses[seed%len(addresses)])
		}
		used = time.Now()
		if err == nil {
			err = s.carryOut(conn, w)
		}
		if err == nil {
			failures = 0
			s.controlWorks()
			continue
		}
		var broken connError
		if conn != nil && errors.As(err, &broken) {
			_ = conn.Close()
			conn = nil
		}
		seed++
		s.controlFails(err)
		timer.Reset(s.backoff(failures))
		failures++
		select {
		case <-timer.C:
		case <-s.stop.Done():
			return
		}
	}
}

// work is what there is to ask.
type work struct {
	identity bool
	topics   []string
	limits   []string
	wait     time.Duration // until the next topic is due
}

func (w work) nothing() bool {
	return !w.identity && len(w.topics) == 0 && len(w.limits) == 0
}

func (s *Sender) work() work {
	fx := new(effects)
	s.mu.Lock()
	now := time.Now()
	w := work{identity: s.identityWanted, wait: s.config.MetadataRefresh}
	s.forgetIdle(fx, now)
	var due, soon []*topic
	for _, t := range s.topics {
		if t.askAt.IsZero() || t.frozen {
			continue
		}
		if err := legalTopic(t.name); err != nil {
			s.failTopic(fx, t, illegalName(t.name, err))
			continue
		}
		d := t.askAt.Sub(now)
		switch {
		case d <= 0:
			due = append(due, t)
		case t.askTries == 0 && d <= s.config.MetadataRefresh/10:
			soon = append(soon, t)
			fallthrough
		default:
			w.wait = min(w.wait, d)
		}
	}
	if len(due) > 0 { // thousands of topics are not asked for one by one
		due = append(due, soon...)
	}
	for _, t := range due {
		t.askAt = now.Add(metadataPause) // unless the answer says otherwise
		w.topics = append(w.topics, t.name)
	}
	for _, t := range s.topics {
		if !t.limitDue || t.state == topicAsking {
			continue
		}
		if d := limitPause - now.Sub(t.limitAsked); d > 0 {
			w.wait = min(w.wait, d)
			continue
		}
		w.limits = append(w.limits, t.name)
	}
	s.mu.Unlock()
	s.run(fx)
	return w
}

func (s *Sender) carryOut(conn *sarama.Broker, w work) error {
	if len(w.topics) > 0 {
		if err := s.askMetadata(conn, w.topics); err != nil {
			return fmt.Errorf("kafka: asking for topics: %w", err)
		}
	}
	if w.identity {
		if err := s.initProducerID(conn); err != nil {
			return fmt.Errorf("kafka: asking for a producer id: %w", err)
		}
	}
	if len(w.limits) > 0 {
		if err := s.askLimits(conn, w.limits); err != nil {
			return fmt.Errorf("kafka: asking for the limits of topics: %w", err)
		}
	}
	return nil
}

// addresses are the brokers to ask: those that were given, then those that were learnt.
func (s *Sender) addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	addresses := slices.Clone(s.config.Config.Brokers)
	for _, address := range s.brokers {
		if !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	slices.Sort(addresses[len(s.config.Config.Brokers):])
	return addresses
}

// controlFails tells the streams whose records wait for an answer.
func (s *Sender) controlFails(err error) {
	if s.stop.Err() != nil {
		return
	}
	fx := new(effects)
	s.mu.Lock()
	for _, t := range s.topics {
		if t.state == topicDraining {
			continue
		}
		for _, e := range t.pending {
			fx.trouble(e.stream, s, err)
		}
	}
	for _, l := range s.parked {
		if st := l.stream(); st != nil {
			fx.trouble(st, s, err)
		}
	}
	s.mu.Unlock()
	s.run(fx)
}

func (s *Sender) controlWorks() {
	fx := new(effects)
	s.mu.Lock()
	for st := range s.streams {
		fx.relieve(st, s)
	}
	s.mu.Unlock()
	s.run(fx)
}
