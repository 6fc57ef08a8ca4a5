package watermillsql

import "github.com/tailrace-go/tailrace/bus/delivery"

// chunk is the rows of one statement, until the last of them is passed.
type chunk struct {
	number  int64
	entries []entry // in Watermill's order
}

// entry is one row on its way.
type entry struct {
	at     position
	record delivery.Record
	key    *keyState
	bytes  int
	// number counts the rows in the order in which they were read.
	number   int64
	attempts int
	// err is why it was refused last.
	err error
	// letter is the copy for the dead letters while that is on its way.
	letter *delivery.Record
	// doomed: it has no attempts left.
	doomed bool
	// probe: it was sent alone, to see whether its key or topic flows again.
	probe bool
	// done: the broker has it, or its copy.
	done bool
}

// refBits is how many bits of a record's Ref hold the entry's place in its chunk.
const refBits = 20

// window is the rows that were read and are not passed yet: those from the first that is not done.
type window struct {
	chunks map[int64]*chunk
	oldest int64 // number of the chunk with the first row
	first  int   // its place there
	newest int64

	read      int64 // rows ever read
	passed    int64 // rows ever passed
	bytesDone int64 // of rows ever done
	at        position
}

func newWindow(at position) window {
	return window{chunks: map[int64]*chunk{}, oldest: 1, at: at}
}

// add takes a chunk behind those it has.
func (w *window) add(c *chunk) {
	w.newest++
	c.number = w.newest
	w.chunks[c.number] = c
	for i := range c.entries {
		e := &c.entries[i]
		w.read++
		e.number = w.read
		e.record.Ref = c.number<<refBits | int64(i)
	}
}

// find returns the entry that a record's Ref names, nil if it is passed.
func (w *window) find(ref int64) *entry {
	c := w.chunks[ref>>refBits]
	if c == nil {
		return nil
	}
	return &c.entries[ref&(1<<refBits-1)]
}

// done notes that an entry's row may be passed, and frees its memory.
func (w *window) done(e *entry) {
	if e.done {
		return
	}
	e.done = true
	w.bytesDone += int64(e.bytes)
	e.record, e.letter = delivery.Record{}, nil
}

// pass moves the position over the rows that are done, and reports whether it moved.
func (w *window) pass() bool {
	before := w.passed
	for c := w.chunks[w.oldest]; c != nil; c = w.chunks[w.oldest] {
		for w.first < len(c.entries) && c.entries[w.first].done {
			w.at = c.entries[w.first].at
			w.first++
			w.passed++
		}
		if w.first < len(c.entries) {
			break
		}
		delete(w.chunks, c.number)
		w.oldest, w.first = c.number+1, 0
	}
	return w.passed > before
}

// beyond counts the rows that are done and can't be passed.
func (w *window) beyond() (n int) {
	for _, c := range w.chunks {
		for i := range c.entries {
			if c.entries[i].done && (c.number != w.oldest || i >= w.first) {
				n++
			}
		}
	}
	return n
}
