package kafka

import (
	"slices"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// entry is a record in a queue.
type entry struct {
	record *delivery.Record
	stream *stream
}

// queue is a first-in, first-out list of entries that reuses its memory.
type queue struct {
	items []entry
	first int
}

func (q *queue) len() int { return len(q.items) - q.first }

// waiting are the entries in order, to be read only.
func (q *queue) waiting() []entry { return q.items[q.first:] }

func (q *queue) push(e entry) {
	if q.first > 0 && len(q.items) == cap(q.items) && q.first >= len(q.items)/2 {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	q.items = append(q.items, e)
}

// shift removes the first n entries.
func (q *queue) shift(n int) {
	clear(q.items[q.first : q.first+n])
	q.first += n
	if q.first == len(q.items) {
		q.items, q.first = q.items[:0], 0
	}
}

// unshift puts entries back in front, in their order.
func (q *queue) unshift(entries []entry) {
	q.items = slices.Concat(entries, q.items[q.first:])
	q.first = 0
}

// take removes and returns the entries that match.
func (q *queue) take(match func(entry) bool) []entry {
	var taken []entry
	kept := q.items[:q.first]
	for _, e := range q.items[q.first:] {
		if match(e) {
			taken = append(taken, e)
		} else {
			kept = append(kept, e)
		}
	}
	clear(q.items[len(kept):])
	q.items = kept
	return taken
}
