package forwarder

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// State is what a forwarder is doing.
type State string

const (
	// Stopped: neither Run nor Drain is at work.
	Stopped State = "stopped"
	// Standby: another forwarder owns the outbox, or the database can't be reached.
	Standby State = "standby"
	// Owner: this forwarder owns the outbox.
	Owner State = "owner"
)

// Status is a snapshot of a forwarder's health.
type Status struct {
	State State
	// Since is when this forwarder became the owner.
	Since time.Time
	// Database and Broker are the last error of each while it lasts, else nil.
	Database, Broker error
	// Blocked is what else keeps it from its work, nil for nothing: package watermillsql has such things.
	Blocked error
	// Outbox is why an operator has to mend the table before it can be forwarded. Only a [Group] waits for that.
	Outbox error
	// Paused are the topics that can't be written to, with the reason.
	Paused map[string]error
	// Flying is how many rows are read and not settled, Waiting how many wait behind a refused event or
	// a paused topic.
	Flying, Waiting int
	// Opening is what the owner of a new shard waits for before it sends its first event, "" of any other.
	Opening string
}

// Ready returns nil while the forwarder can do its part: it owns the outbox and reaches database and
// broker, or it stands by. Paused topics do not count, since other topics flow.
func (s Status) Ready() error {
	var faults []error
	if s.State == Stopped || s.State == "" {
		faults = append(faults, errors.New("not running"))
	}
	if s.Outbox != nil {
		faults = append(faults, fmt.Errorf("the outbox cannot be forwarded: %w", s.Outbox))
	}
	if s.Database != nil {
		faults = append(faults, fmt.Errorf("the database is away: %w", s.Database))
	}
	if s.State == Owner && s.Broker != nil {
		faults = append(faults, fmt.Errorf("the broker is away: %w", s.Broker))
	}
	if s.Blocked != nil {
		faults = append(faults, s.Blocked)
	}
	return errors.Join(faults...)
}

// String returns the status on one line.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d in flight, %d waiting", s.State, s.Flying, s.Waiting)
	if s.Opening != "" {
		fmt.Fprintf(&b, ", a new shard that waits: %s", s.Opening)
	}
	if len(s.Paused) > 0 {
		fmt.Fprintf(&b, ", paused: %s", strings.Join(slices.Sorted(maps.Keys(s.Paused)), ", "))
	}
	return b.String()
}

// Status returns what the forwarder is doing now.
func (f *Forwarder) Status() Status {
	f.status.mu.Lock()
	defer f.status.mu.Unlock()
	s := f.status.now
	s.Paused = maps.Clone(s.Paused)
	if s.State == "" {
		s.State = Stopped
	}
	return s
}

// status is written by the forwarder's goroutines and the sender's.
type status struct {
	mu  sync.Mutex
	now Status
}

func (s *status) set(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

func (s *status) database(err error) { s.set(func(s *Status) { s.Database = err }) }
func (s *status) broker(err error)   { s.set(func(s *Status) { s.Broker = err }) }

// heldNow is what the holds held when they were last walked over. A million keys that wait take a tenth of a
// second, so they are walked over no more often than that they cost a hundredth of the session's time.
type heldNow struct {
	rows   int
	oldest int64 // 0 for none
	next   time.Time
}

// countHeld walks over the holds when it is time, and reports whether it did.
func (s *session) countHeld(now time.Time) bool {
	if now.Before(s.held.next) {
		return false
	}
	s.held.rows, s.held.oldest = 0, 0
	s.holds(func(k *keyState) {
		s.held.rows += len(k.held.ids)
		if len(k.held.ids) > 0 && (s.held.oldest == 0 || k.held.ids[0] < s.held.oldest) {
			s.held.oldest = k.held.ids[0]
		}
	})
	s.held.next = time.Now().Add(100 * time.Since(now))
	return true
}

// publishState tells status, metrics and the reader how the session stands.
func (s *session) publishState() {
	if s.countHeld(time.Now()) {
		// An older mark stays true: all below it is settled.
		s.reader.lowWater.Store(s.lowWaterOver(s.held.oldest))
	}
	s.forgetTopics()
	waiting := s.held.rows
	paused := map[string]error{}
	for name, t := range s.topics {
		if t.pause != nil {
			paused[name] = t.pause.err
		}
	}
	s.status.set(func(now *Status) { now.Flying, now.Waiting, now.Paused = s.flying, waiting, paused })
	s.metrics.state(s.flying, waiting, len(paused))
	s.sample(waiting)
}
