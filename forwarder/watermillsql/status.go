package watermillsql

import (
	"maps"
	"sync"

	"github.com/tailrace-go/tailrace/forwarder"
)

// Status returns what the forwarder is doing now. Flying counts the rows read and not recorded.
func (f *Forwarder) Status() forwarder.Status {
	f.status.mu.Lock()
	defer f.status.mu.Unlock()
	s := f.status.now
	s.Paused = maps.Clone(s.Paused)
	if s.State == "" {
		s.State = forwarder.Stopped
	}
	return s
}

// status is written by the forwarder's goroutines and the sender's.
type status struct {
	mu  sync.Mutex
	now forwarder.Status
}

func (s *status) set(change func(*forwarder.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

func (s *status) database(err error) { s.set(func(s *forwarder.Status) { s.Database = err }) }
func (s *status) broker(err error)   { s.set(func(s *forwarder.Status) { s.Broker = err }) }
func (s *status) blocked(err error)  { s.set(func(s *forwarder.Status) { s.Blocked = err }) }

// publishState tells status and metrics how the session stands.
func (s *session) publishState() {
	paused := map[string]error{}
	for name, t := range s.topics {
		if t.pause != nil {
			paused[name] = t.pause.err
		}
	}
	flying, blocked := int(s.window.read-s.recorded), s.blocked()
	s.status.set(func(now *forwarder.Status) {
		now.Flying, now.Waiting, now.Paused, now.Blocked = flying, s.waiting, paused, blocked
	})
	s.metrics.state(flying, s.waiting, len(paused))
}
