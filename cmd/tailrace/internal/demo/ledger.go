package demo

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Event is one event as the ledger knows it.
type Event struct{ Topic, Key, ID string }

// Ledger counts every event: published by a transaction that committed, forwarded (it stands in Kafka),
// consumed, or set aside as a dead letter. It is safe for concurrent use.
type Ledger struct {
	mu                                   sync.Mutex
	topics                               []string
	published, forwarded, consumed, dead map[string][]Event // by topic, in order
	committing                           map[string]time.Time
	latencies                            []time.Duration
}

// NewLedger returns an empty ledger that lists these topics, in this order.
func NewLedger(topics ...string) *Ledger {
	return &Ledger{
		topics: topics, published: map[string][]Event{}, forwarded: map[string][]Event{}, consumed: map[string][]Event{},
		dead: map[string][]Event{}, committing: map[string]time.Time{},
	}
}

// Committing notes that the events' transaction is about to be committed.
func (l *Ledger) Committing(events ...Event) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, event := range events {
		l.committing[event.ID] = now
	}
}

// Published notes that it was committed. The events of one key are noted in the order of publishing.
func (l *Ledger) Published(events ...Event) { l.note(l.published, events) }

// Acknowledged notes that Kafka has the event as of now.
func (l *Ledger) Acknowledged(id string) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, first := l.committing[id]; first {
		l.latencies = append(l.latencies, now.Sub(at))
		delete(l.committing, id)
	}
}

// Forwarded notes what was read back from Kafka, in the order of each partition.
func (l *Ledger) Forwarded(events ...Event) { l.note(l.forwarded, events) }

// Consumed notes that handlers took the events, in the order of each key.
func (l *Ledger) Consumed(events ...Event) { l.note(l.consumed, events) }

// SetAside notes that the events went to the dead letters; Topic is where they came from.
func (l *Ledger) SetAside(events ...Event) { l.note(l.dead, events) }

func (l *Ledger) note(in map[string][]Event, events []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, event := range events {
		in[event.Topic] = append(in[event.Topic], event)
	}
}

// Count is what became of the events of one topic. Forwarded and Consumed count an event once.
type Count struct {
	Topic                                string
	Published, Forwarded, Consumed, Dead int
	// Lost were published and are not in Kafka; Unseen are in Kafka, and neither consumed nor set aside.
	Lost, Unseen int
	// Foreign are in Kafka though nobody published them, for instance because of a rollback.
	Foreign int
	// Duplicated stand in Kafka more than once.
	Duplicated int
	// Reordered came, to Kafka or to a handler, behind a later event of their key.
	Reordered int
}

// Counts returns the count of each topic.
func (l *Ledger) Counts() []Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make([]Count, 0, len(l.topics))
	for _, topic := range l.topics {
		place := map[string]int{}
		for i, event := range l.published[topic] {
			place[event.ID] = i
		}
		forwarded, consumed, dead := follow(l.forwarded[topic], place), follow(l.consumed[topic], place), follow(l.dead[topic], place)
		count := Count{
			Topic: topic, Published: len(place),
			Forwarded: len(forwarded.seen), Consumed: len(consumed.seen), Dead: len(dead.seen),
			Foreign: forwarded.foreign, Duplicated: forwarded.duplicated, Reordered: forwarded.reordered + consumed.reordered,
		}
		for id := range place {
			switch {
			case !forwarded.seen[id]:
				count.Lost++
			case !consumed.seen[id] && !dead.seen[id]:
				count.Unseen++
			}
		}
		counts = append(counts, count)
	}
	return counts
}

// trail is what following events one after the other found.
type trail struct {
	seen                           map[string]bool
	foreign, duplicated, reordered int
}

// follow looks at first sightings; place tells the order of publishing.
func follow(events []Event, place map[string]int) trail {
	t := trail{seen: map[string]bool{}}
	last := map[string]int{}
	for _, event := range events {
		if t.seen[event.ID] {
			t.duplicated++
			continue
		}
		t.seen[event.ID] = true
		at, known := place[event.ID]
		if !known {
			t.foreign++
			continue
		}
		if at < last[event.Key] {
			t.reordered++
		}
		last[event.Key] = max(last[event.Key], at)
	}
	return t
}

// Done reports whether nothing is to be waited for any more.
func (l *Ledger) Done() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	published, ended := 0, map[string]bool{}
	for _, topic := range l.topics {
		published += len(l.published[topic])
		for _, event := range slices.Concat(l.consumed[topic], l.dead[topic]) {
			ended[event.ID] = true
		}
	}
	return len(ended) >= published
}

// Check returns everything that is wrong with the counts, nil if nothing is. Dead letters are only right
// in the number that was meant.
func Check(counts []Count, deadLetters int) error {
	var faults []error
	dead := 0
	for _, count := range counts {
		for _, bad := range []struct {
			n    int
			what string
		}{
			{count.Lost, "published and not in Kafka"},
			{count.Unseen, "in Kafka, and neither consumed nor set aside"},
			{count.Foreign, "in Kafka, though never published"},
			{count.Duplicated, "in Kafka more than once"},
			{count.Reordered, "out of order within a key"},
		} {
			if bad.n != 0 {
				faults = append(faults, fmt.Errorf("%s: %d %s", count.Topic, bad.n, bad.what))
			}
		}
		if count.Published == 0 {
			faults = append(faults, fmt.Errorf("%s: nothing was published", count.Topic))
		}
		dead += count.Dead
	}
	if dead != deadLetters {
		faults = append(faults, fmt.Errorf("%d dead letters, where %d were meant", dead, deadLetters))
	}
	return errors.Join(faults...)
}

// Latency returns a quantile (0 to 1) of the times from commit to Kafka's acknowledgement, 0 if there
// are none.
func (l *Ledger) Latency(quantile float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.latencies) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(l.latencies))
	return sorted[min(int(quantile*float64(len(sorted))), len(sorted)-1)]
}
