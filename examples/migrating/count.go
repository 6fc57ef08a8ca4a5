package main

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// ledger is what was committed, by record key, in order.
type ledger struct {
	mu   sync.Mutex
	keys map[string][]string // event ids
	size int
}

func (l *ledger) add(key string, ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[string][]string{}
	}
	l.keys[key] = append(l.keys[key], ids...)
	l.size += len(ids)
}

// found is how what was committed and what Kafka has differ: events that are not sent, that are there twice,
// that were rolled back, and that are out of order within their key.
type found struct{ unsent, twice, phantoms, disordered int }

// compare compares the ledger with a topic's records. Records of a key are in one partition, in order.
func (l *ledger) compare(records []record) (f found) {
	l.mu.Lock()
	defer l.mu.Unlock()
	place := map[string]int{}
	for _, ids := range l.keys {
		for i, id := range ids {
			place[id] = i + 1
		}
	}
	seen, last := map[string]bool{}, map[string]int{}
	for _, r := range records {
		at := place[r.id]
		switch {
		case at == 0:
			f.phantoms++
		case seen[r.id]:
			f.twice++
		case at < last[r.key]:
			f.disordered++
		default:
			last[r.key] = at
		}
		seen[r.id] = true
	}
	for id := range place {
		if !seen[id] {
			f.unsent++
		}
	}
	return f
}

const (
	heading = "    %-44s%11s%7s%10s%7s%13s%14s\n"
	row     = "    %-44s%11d%7d%10d%7d%13d%14d\n"
)

// count prints how a step stands, and fails if that is not what is known of it.
func (a *app) count(ctx context.Context, out io.Writer, what, topic string, committed *ledger, known found) error {
	records, err := readTopic(ctx, a.settings.Kafka(), topic)
	if err != nil {
		return err
	}
	have := committed.compare(records)
	_, _ = fmt.Fprintf(out, row, what, committed.size, len(records), have.unsent, have.twice, have.phantoms, have.disordered)
	if have != known {
		return fmt.Errorf("%s: %+v, where %+v was meant", what, have, known)
	}
	return nil
}
