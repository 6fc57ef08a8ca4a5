package forwarder

import (
	"slices"
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// topicState is what the session knows of one destination.
type topicState struct {
	name string
	// keys has an entry for each key with records in flight or held back, no more.
	keys map[string]*keyState
	// loose stands for all records without key: they have no order among them, so they are held back
	// only while the topic is.
	loose *keyState
	// lonely is how many rows without key wait by themselves.
	lonely int
	pause  *pause
}

// keyState is one key's records. Those in flight share its fence; those held back wait in its hold, and
// while there is a hold every new row of the key joins it, so that the key's order stands.
type keyState struct {
	topic  *topicState
	key    string
	loose  bool
	fence  *delivery.Fence
	flying int
	held   *hold
}

// phase is where a hold is on its way back to flowing.
type phase uint8

const (
	// waiting: until the hold's time, then its first row is tried alone.
	waiting phase = iota
	// parked: until the topic is there again.
	parked
	// fetching: the first row is being read again.
	fetching
	// probing: the first row was sent, alone.
	probing
	// burying: the first row has no attempts left; its copy is on its way to the dead letters.
	burying
	// releasing: the first row is done, the others are read again and follow in order.
	releasing
)

// hold keeps back a key's rows, by id only: their contents are read again when it is their turn, so that
// a million waiting rows cost 8 MB.
type hold struct {
	ids   []int64 // ascending, none of them in flight
	phase phase
	until time.Time
	// counting: the attempt is being written to the table.
	counting bool
	// queued: in the session's list of keys to fetch for.
	queued bool
	// bury: when the first row was fetched, send its copy to the dead letters instead of trying it.
	bury   bool
	reason error
}

func (h *hold) add(id int64) {
	if n := len(h.ids); n == 0 || h.ids[n-1] < id {
		h.ids = append(h.ids, id)
		return
	}
	if at, found := slices.BinarySearch(h.ids, id); !found {
		h.ids = slices.Insert(h.ids, at, id)
	}
}

func (h *hold) remove(id int64) {
	if len(h.ids) > 0 && h.ids[0] == id {
		h.ids = h.ids[1:]
		return
	}
	if at, found := slices.BinarySearch(h.ids, id); found {
		h.ids = slices.Delete(h.ids, at, at+1)
	}
}

// pause is the state of a topic that can't be written to: unknown, or not authorised. It is the
// topic's fault: one row asks again and again whether it is mended, and an attempt is counted, on a
// schedule of its own, only against the first row of each key.
type pause struct {
	since     time.Time
	probeAt   time.Time
	probeWait time.Duration
	countAt   time.Time
	countWait time.Duration
	probing   bool
	err       error
}

func (s *session) topic(name string) *topicState {
	t := s.topics[name]
	if t == nil {
		t = &topicState{name: name, keys: map[string]*keyState{}}
		t.loose = &keyState{topic: t, loose: true}
		s.topics[name] = t
	}
	return t
}

// keyFor returns the state of a row's key, which may be nil for none.
func (t *topicState) keyFor(key []byte) *keyState {
	if len(key) == 0 {
		return t.loose
	}
	k := t.keys[string(key)]
	if k == nil {
		k = &keyState{topic: t, key: string(key), fence: new(delivery.Fence)}
		t.keys[k.key] = k
	}
	return k
}

// forget drops a key's state once nothing depends on it.
func (k *keyState) forget() {
	if k.flying == 0 && k.held == nil && !k.loose && k.topic.keys[k.key] == k {
		delete(k.topic.keys, k.key)
	}
}

// forgetTopics drops the states of topics that nothing depends on: names may be made from data, one a tenant.
func (s *session) forgetTopics() {
	for name, t := range s.topics {
		if len(t.keys)+t.loose.flying+t.lonely == 0 && t.loose.held == nil && t.pause == nil {
			delete(s.topics, name)
		}
	}
}

// renew lets the key's next records pass, behind a fence of their own.
func (k *keyState) renew() { k.fence = new(delivery.Fence) }

// alone returns a state of its own for a row without key that has to wait by itself.
func (s *session) alone(t *topicState) *keyState {
	k := &keyState{topic: t, fence: new(delivery.Fence)}
	s.lone[k] = struct{}{}
	t.lonely++
	return k
}

// flow ends a key's hold, of which no row is left.
func (s *session) flow(k *keyState) {
	k.held = nil
	if _, lone := s.lone[k]; lone {
		delete(s.lone, k)
		k.topic.lonely--
	}
	k.forget()
}

// heads calls f for every hold of the topic in the given phase. A lone row's hold is among s.lone.
func (s *session) heads(t *topicState, in phase, f func(*keyState)) {
	if t.loose.held != nil && t.loose.held.phase == in {
		f(t.loose)
	}
	for _, k := range t.keys {
		if k.held != nil && k.held.phase == in {
			f(k)
		}
	}
	for k := range s.lone {
		if k.topic == t && k.held != nil && k.held.phase == in {
			f(k)
		}
	}
}

// holds calls f for every hold of the session.
func (s *session) holds(f func(*keyState)) {
	for _, t := range s.topics {
		if t.loose.held != nil {
			f(t.loose)
		}
		for _, k := range t.keys {
			if k.held != nil {
				f(k)
			}
		}
	}
	for k := range s.lone {
		if k.held != nil {
			f(k)
		}
	}
}
