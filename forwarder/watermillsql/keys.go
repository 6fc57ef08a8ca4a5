package watermillsql

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// topicState is what the session knows of one destination.
type topicState struct {
	name string
	// keys has an entry for each key with records in flight or held back, no more.
	keys map[string]*keyState
	// loose stands for all records without key while they flow: they have no order among them.
	loose *keyState
	// pause is set while the topic is unknown or forbidden. Parked are the keys that wait for its end.
	pause  *pause
	parked map[*keyState]struct{}
}

// keyState is one key's records. Those in flight share its fence. While it is stuck every new one joins
// those held, so that the key's order stands.
type keyState struct {
	topic  *topicState
	key    string
	fence  *delivery.Fence // nil without a key
	flying int
	stuck  bool
	phase  phase
	until  time.Time
	held   []*entry // in order, none of them in flight
}

// phase is where a stuck key is on its way back to flowing.
type phase uint8

const (
	// waiting: until the key's time, then its first record is tried alone.
	waiting phase = iota
	// parked: until the topic is there again.
	parked
	// trying: the first record was sent alone, or its copy to the dead letters.
	trying
)

func (s *session) topic(name string) *topicState {
	t := s.topics[name]
	if t == nil {
		t = &topicState{name: name, keys: map[string]*keyState{}, parked: map[*keyState]struct{}{}}
		t.loose = &keyState{topic: t}
		s.topics[name] = t
	}
	return t
}

// keyFor returns the state of a record's key, which may be nil for none.
func (t *topicState) keyFor(key []byte) *keyState {
	if key == nil {
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
	if k.flying == 0 && !k.stuck && k.fence != nil && k.topic.keys[k.key] == k {
		delete(k.topic.keys, k.key)
	}
}

// own returns the state that an entry is held back in: its key's, or one of its own without a key.
func (e *entry) own() *keyState {
	if e.key == e.key.topic.loose {
		e.key = &keyState{topic: e.key.topic}
	}
	return e.key
}

// hold keeps an entry back. A key that flowed waits from now on.
func (s *session) hold(e *entry) *keyState {
	k := e.own()
	if !k.stuck {
		k.stuck, k.phase, k.until = true, waiting, time.Time{}
	}
	at, _ := slices.BinarySearchFunc(k.held, e.number, func(held *entry, number int64) int { return cmp.Compare(held.number, number) })
	k.held = slices.Insert(k.held, at, e)
	s.waiting++
	e.probe = false
	return k
}

// first takes the first of a key's held entries out.
func (s *session) first(k *keyState) *entry {
	e := k.held[0]
	k.held = k.held[1:]
	s.waiting--
	return e
}

// wake sets when a waiting key is tried again.
func (s *session) wake(k *keyState, at time.Time) {
	k.phase, k.until = waiting, at
	heap.Push(&s.alarms, alarm{at: at, key: k})
}

// ready tries the first record of a stuck key alone, once its time has come and nothing of the key is in
// flight. One that has no attempts left goes to the dead letters.
func (s *session) ready(k *keyState, now time.Time) {
	switch {
	case !k.stuck || k.phase != waiting || k.flying > 0 || k.until.After(now):
	case len(k.held) == 0:
		s.release(k)
	case k.held[0].doomed:
		k.phase = trying
		s.bury(s.first(k))
	case k.topic.pause != nil:
		s.park(k)
	default:
		s.try(k)
	}
}

func (s *session) try(k *keyState) {
	k.phase = trying
	k.renew()
	e := s.first(k)
	e.probe = true
	s.send(e)
}

// renew lets the key's next records pass, behind a fence of their own.
func (k *keyState) renew() {
	if k.fence != nil {
		k.fence = new(delivery.Fence)
	}
}

// release lets what is held follow, in order, behind the first record, which is done.
func (s *session) release(k *keyState) {
	if k.topic.pause != nil && len(k.held) > 0 {
		s.park(k)
		return
	}
	k.stuck = false
	k.renew()
	s.waiting -= len(k.held)
	for _, e := range k.held {
		s.send(e)
	}
	k.held = nil
	k.forget()
}

// alarm is a time at which a key or a paused topic wants attention.
type alarm struct {
	at    time.Time
	key   *keyState
	topic *topicState
}

type alarms []alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a alarms) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *alarms) Push(x any)        { *a = append(*a, x.(alarm)) }
func (a *alarms) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = alarm{} // Its key is not to be kept by it.
	*a = (*a)[:last]
	return x
}

func (a alarms) due(now time.Time) bool { return len(a) > 0 && !a[0].at.After(now) }

func (a alarms) wait(now time.Time) time.Duration {
	if len(a) == 0 {
		return time.Hour
	}
	return max(0, a[0].at.Sub(now))
}

// ring attends to what is due.
func (s *session) ring(now time.Time) {
	for s.alarms.due(now) {
		due := heap.Pop(&s.alarms).(alarm)
		if due.key != nil {
			s.ready(due.key, now)
		} else {
			s.probeTopic(due.topic, now)
		}
	}
}
