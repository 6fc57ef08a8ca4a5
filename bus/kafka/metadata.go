package kafka

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// metadataPause keeps failing lanes from asking for the same topic without end.
const metadataPause = 100 * time.Millisecond

// ask makes metadata of a topic due now that nothing is known of. s.mu is held.
func (s *Sender) ask(t *topic) {
	if !t.askAt.IsZero() && t.askTries > 0 {
		return // it is being asked for, or after a pause
	}
	if t.state == topicDraining {
		return
	}
	t.askTries = 1
	t.askAt = time.Now()
	s.wakeControl()
}

// askSoon makes metadata of a topic due soon because something of it fails. s.mu is held.
func (s *Sender) askSoon(t *topic) {
	at := time.Now().Add(metadataPause)
	if t.askTries == 0 {
		at = time.Now()
	}
	t.askTries++
	if t.askAt.IsZero() || t.askAt.After(at) {
		t.askAt = at
		s.wakeControl()
	}
}

func (s *Sender) askMetadata(conn *sarama.Broker, names []string) error {
	request := sarama.NewMetadataRequest(s.sarama.Version, names)
	request.AllowAutoTopicCreation = false
	response, err := conn.GetMetadata(request)
	if err != nil {
		return connError{err}
	}
	fx := new(effects)
	var missing []string
	s.mu.Lock()
	for _, broker := range response.Brokers {
		s.brokers[broker.ID()] = broker.Addr()
	}
	for _, metadata := range response.Topics {
		if t := s.topics[metadata.Name]; t != nil && s.learn(fx, t, metadata) {
			missing = append(missing, t.name)
		}
	}
	s.mu.Unlock()
	s.run(fx)
	if len(missing) > 0 {
		return s.create(conn, response, missing)
	}
	return nil
}

// learn takes in what metadata says of a topic; it reports whether the topic is to be created. s.mu is held.
func (s *Sender) learn(fx *effects, t *topic, metadata *sarama.TopicMetadata) (create bool) {
	switch classifyTopic(metadata.Err) {
	case topicUsable:
		s.learnPartitions(fx, t, metadata)
	case topicMissing:
		return s.miss(fx, t, metadata.Err)
	case topicForbidden:
		s.failTopic(fx, t, delivery.Verdict{Fault: delivery.Topic, Err: topicError(t.name, metadata.Err), Partition: -1, Offset: -1})
	case topicIllegal:
		s.failTopic(fx, t, illegalName(t.name, metadata.Err))
	case topicLater:
		s.askAgain(t)
		for _, e := range t.pending {
			fx.trouble(e.stream, t, topicError(t.name, metadata.Err))
		}
	}
	return false
}

func (s *Sender) learnPartitions(fx *effects, t *topic, metadata *sarama.TopicMetadata) {
	partitions := metadata.Partitions
	if len(partitions) == 0 {
		s.askAgain(t)
		return
	}
	t.known = true
	t.missingSince = time.Time{}
	s.relieveTopic(fx, t)
	if t.limit == 0 && t.limitAsked.IsZero() {
		s.askLimit(t)
	}
	var count int32
	for _, partition := range partitions {
		count = max(count, partition.ID+1)
	}
	s.setPartitions(fx, t, count, metadata.Uuid)
	leaderless := false
	for _, partition := range partitions {
		if int(partition.ID) >= len(t.lanes) {
			continue
		}
		l := t.lanes[partition.ID]
		leader := partition.Leader
		if _, ok := s.brokers[leader]; !ok {
			leader = -1
		}
		if leader < 0 {
			leaderless = leaderless || l.stream() != nil
			if st := l.stream(); st != nil {
				s.troubled(fx, l, st, sarama.ErrLeaderNotAvailable)
			}
		}
		if l.leader != leader {
			s.move(l, leader)
		}
	}
	if leaderless {
		s.askAgain(t)
		return
	}
	t.askTries = 0
	t.askAt = time.Now().Add(s.config.MetadataRefresh)
}

// move gives a lane to another leader, at once if it waits in the list of the old one. s.mu is held.
func (s *Sender) move(l *lane, to int32) {
	if old := s.leaders[l.leader]; old != nil && l.ready {
		for i, other := range old.lanes {
			if other == l {
				old.lanes = append(old.lanes[:i:i], old.lanes[i+1:]...)
				l.ready = false
				break
			}
		}
	}
	l.leader = to
	if to >= 0 {
		s.enqueue(l)
	}
}

func (s *Sender) askAgain(t *topic) {
	t.askAt = time.Now().Add(max(metadataPause, s.backoff(t.askTries)))
	t.askTries++
}

// relieveTopic: the topic's metadata is no longer what records wait for. s.mu is held.
func (s *Sender) relieveTopic(fx *effects, t *topic) {
	for st := range s.streams {
		fx.relieve(st, t)
	}
}

// miss: the topic is not there. One that was, or was just made, may only not be there yet. s.mu is held.
func (s *Sender) miss(fx *effects, t *topic, err error) (create bool) {
	now := time.Now()
	if t.missingSince.IsZero() {
		t.missingSince = now
	}
	if s.config.AutoCreate != nil && !t.created {
		t.created = true
		s.askAgain(t)
		return true
	}
	if (t.known || t.created) && now.Sub(t.missingSince) < s.config.TopicGrace {
		s.askAgain(t)
		return false
	}
	s.failTopic(fx, t, delivery.Verdict{
		Fault: delivery.Topic, Err: fmt.Errorf("%w; create the topic", topicError(t.name, err)), Partition: -1, Offset: -1,
	})
	return false
}

func illegalName(name string, err error) delivery.Verdict {
	return delivery.Verdict{Fault: delivery.Refused, Err: topicError(name, err), Partition: -1, Offset: -1}
}

// create makes the missing topics by the controller.
func (s *Sender) create(conn *sarama.Broker, metadata *sarama.MetadataResponse, names []string) error {
	for _, broker := range metadata.Brokers {
		if broker.ID() == metadata.ControllerID && broker.Addr() != conn.Addr() {
			controller, err := s.dialBroker(broker.Addr())
			if err != nil {
				return err
			}
			defer func() { _ = controller.Close() }()
			conn = controller
		}
	}
	details := map[string]*sarama.TopicDetail{}
	for _, name := range names {
		details[name] = s.config.AutoCreate.detail()
	}
	response, err := conn.CreateTopics(sarama.NewCreateTopicsRequest(s.sarama.Version, details, s.config.Config.ackTimeout(), false))
	if err != nil {
		return connError{err}
	}
	fx := new(effects)
	s.mu.Lock()
	for name, result := range response.TopicErrors {
		t := s.topics[name]
		if t == nil {
			continue
		}
		switch classifyCreate(result.Err) {
		case topicUsable:
			t.missingSince = time.Now() // the grace starts anew
			s.config.Logger.Info("kafka: created a topic", "topic", name, "partitions", s.config.AutoCreate.Partitions)
		case topicLater:
			t.created = false
		default:
			err := fmt.Errorf("creating it: %w", result)
			s.failTopic(fx, t, delivery.Verdict{Fault: delivery.Topic, Err: topicError(name, err), Partition: -1, Offset: -1})
		}
	}
	s.mu.Unlock()
	s.run(fx)
	return nil
}
