package kafka

import (
	"math"

	"github.com/IBM/sarama"
)

// identity is what makes batches idempotent: a producer id and its epoch. One serves all lanes of a
// sender, each with its own sequence. A lane that needs another one takes the newest; the others follow
// when they have to.
type identity struct {
	id         int64
	epoch      int16
	generation int // 0: none
}

// renewal is why a lane needs a newer identity.
type renewal uint8

const (
	renewNot renewal = iota
	// renewEpoch: a batch was given up whose outcome is not known. A higher epoch of the same id, which is
	// the lane's own affair since brokers keep epochs by partition, makes the partition refuse that batch
	// should it arrive late; a new id would let it in. The epoch of a producer without transactions is the
	// client's to raise (KIP-360).
	renewEpoch
	// renewID: the broker does not accept the identity.
	renewID
)

// identify sees to it that the lane has an identity it can use, or waits for one. s.mu is held.
func (s *Sender) identify(l *lane) bool {
	if l.identity.generation > 0 && l.renew == renewNot {
		return true
	}
	fresh, left := s.fresh()
	switch {
	case l.renew == renewEpoch && l.identity.generation > 0 && l.identity.epoch < math.MaxInt16:
		l.identity.epoch++
	case left && fresh.generation > l.identity.generation:
		l.identity = fresh
	default:
		s.identityWanted = true
		s.parked = append(s.parked, l)
		l.parked = true
		s.wakeControl()
		return false
	}
	l.sequence = 0
	l.renew = renewNot
	return true
}

// initProducerID asks for a new identity.
func (s *Sender) initProducerID(conn *sarama.Broker) error {
	request := &sarama.InitProducerIDRequest{Version: 1, ProducerID: -1, ProducerEpoch: -1}
	switch {
	case s.sarama.Version.IsAtLeast(sarama.V2_7_0_0):
		request.Version = 4
	case s.sarama.Version.IsAtLeast(sarama.V2_4_0_0):
		request.Version = 2
	case !s.sarama.Version.IsAtLeast(sarama.V2_0_0_0):
		request.Version = 0
	}
	response, err := conn.InitProducerID(request)
	if err != nil {
		return connError{err}
	}
	if response.Err != sarama.ErrNoError {
		return response.Err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identity = identity{response.ProducerID, response.ProducerEpoch, s.identity.generation + 1}
	s.identityWanted = false
	parked := s.parked
	s.parked = nil
	for _, l := range parked {
		l.parked = false
		s.enqueue(l)
	}
	return nil
}
