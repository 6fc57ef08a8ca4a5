package forwarder

import (
	"cmp"
	"slices"
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// chunk is the rows of one statement on their way to the broker. Its memory lives until its last row
// is done.
type chunk struct {
	number int64
	// first is the lowest id of the chunk.
	first   int64
	entries []entry // ascending by id
	records []delivery.Record
	open    int // entries not done
	// read is when the rows were read.
	read time.Time
}

// entry is one row on its way.
type entry struct {
	id                  int64
	eventID             string
	topic               *topicState
	key                 *keyState
	retries, maxRetries int32
	bytes               int
	// age is the row's when it was read.
	age time.Duration
	// probe: the row was sent alone, to see whether its key or topic flows again.
	probe bool
	// copy: what is on its way is the copy for the dead letters.
	copy bool
	// done: settled, dead, or waiting by id.
	done bool
}

// refBits is how many bits of a record's Ref hold the entry's place in its chunk.
const refBits = 20

func newChunk(number int64, rows []outbox.Row, read time.Time) *chunk {
	c := &chunk{
		number:  number,
		read:    read,
		first:   rows[0].ID,
		entries: make([]entry, len(rows)),
		records: make([]delivery.Record, len(rows)),
		open:    len(rows),
	}
	for i := range rows {
		c.entries[i].id = rows[i].ID
	}
	return c
}

// find looks an id up.
func (c *chunk) find(id int64) (int, bool) {
	return slices.BinarySearchFunc(c.entries, id, func(e entry, id int64) int { return cmp.Compare(e.id, id) })
}

// holds reports whether the row is on its way in this chunk.
func (c *chunk) holds(id int64) bool {
	i, found := c.find(id)
	return found && !c.entries[i].done
}

func (c *chunk) ref(i int) int64 { return c.number<<refBits | int64(i) }

// index is the entry's place in its chunk.
func (c *chunk) index(e *entry) int64 {
	i, _ := c.find(e.id)
	return int64(i)
}
