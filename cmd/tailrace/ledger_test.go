package main_test

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

// load is writers that publish numbered events of many keys, each key's by one writer, in transactions
// of a few events.
type load struct {
	db      *sql.DB
	table   string
	topic   string
	budget  chan int
	writing sync.WaitGroup
	faults  atomic.Int64
	// committed, if set before the first release, is told of every transaction.
	committed func(ids []string)
}

const perTransaction = 10

// startLoad starts writers that write as many events as release allows. A transaction that fails is
// given up (it may have been committed all the same), and its numbers are not used again.
func (b *bundle) startLoad(writers, keys int) *load {
	return startLoadOf(b.db, "event_outbox", topic, writers, keys)
}

func startLoadOf(db *sql.DB, table, topic string, writers, keys int) *load {
	l := &load{db: db, table: table, topic: topic, budget: make(chan int, 1<<16)}
	for writer := range writers {
		l.writing.Go(func() { l.write(writer, writers, keys) })
	}
	return l
}

// release lets the writers write n more events, a multiple of perTransaction.
func (l *load) release(n int) {
	for range n / perTransaction {
		l.budget <- perTransaction
	}
}

// releaseOne lets one more event be written, in a transaction of its own.
func (l *load) releaseOne() { l.budget <- 1 }

// finish waits until all that was released is written.
func (l *load) finish() {
	close(l.budget)
	l.writing.Wait()
}

func (l *load) write(writer, writers, keys int) {
	next := make([]int, keys)
	key := writer
	for n := range l.budget {
		var ids, names, numbers []string
		for range n {
			ids = append(ids, fmt.Sprintf("k%d-%d", key, next[key]))
			names = append(names, fmt.Sprintf("k%d", key))
			numbers = append(numbers, strconv.Itoa(next[key]))
			next[key]++
			if key += writers; key >= keys {
				key = writer
			}
		}
		_, err := l.db.ExecContext(context.Background(), `INSERT INTO `+l.table+` (event_id, topic, payload, key)
			SELECT id, $4, convert_to(number, 'UTF8'), convert_to(name, 'UTF8')
			FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS row (id, name, number, place) ORDER BY place`,
			pq.StringArray(ids), pq.StringArray(names), pq.StringArray(numbers), l.topic)
		switch {
		case err != nil:
			l.faults.Add(1)
		case l.committed != nil:
			l.committed(ids)
		}
	}
}

// tally counts every event: the rows of the table against the records of the topic.
type tally struct{ sent, delivered, duplicated, reordered, lost, foreign int }

func (c tally) String() string {
	return fmt.Sprintf("%d sent, %d delivered, %d duplicated, %d reordered within a key, %d lost, %d never sent",
		c.sent, c.delivered, c.duplicated, c.reordered, c.lost, c.foreign)
}

// audit counts. Order is that of first deliveries within a key, by the numbers in the payloads.
func (b *bundle) audit() tally {
	b.t.Helper()
	return reckon(b.t, written(b.t, b.db, "event_outbox"), b.broker.Records(b.t, topic))
}

// written returns the ids of all events of a table.
func written(t testing.TB, db *sql.DB, table string) map[string]bool {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT event_id FROM `+table)
	require.NoError(t, err)
	defer rows.Close()
	ids := map[string]bool{}
	for rows.Next() {
		var id string
		require.NoError(t, rows.Scan(&id))
		ids[id] = true
	}
	require.NoError(t, rows.Err())
	return ids
}

// reckon compares the ids sent with the records, which stand in the order of their offsets.
func reckon(t testing.TB, missing map[string]bool, records []bustest.Record) tally {
	t.Helper()
	c := tally{sent: len(missing)}
	seen := map[string]bool{}
	last := map[string]int{}
	for _, record := range records {
		id, ok := record.Header("_watermill_message_uuid")
		require.True(t, ok, "every record carries its event id")
		switch {
		case seen[id]:
			c.duplicated++
			continue
		case !missing[id]:
			c.foreign++
		}
		seen[id] = true
		delete(missing, id)
		c.delivered++
		key, digits, _ := strings.Cut(id, "-")
		number, err := strconv.Atoi(digits)
		require.NoError(t, err)
		require.Equal(t, key, string(record.Key))
		require.Equal(t, digits, string(record.Value))
		if before, known := last[key]; known && number < before {
			c.reordered++
		}
		last[key] = max(last[key], number)
	}
	c.lost = len(missing)
	return c
}

// requireWhole requires that every event arrived, in order, and logs the count.
func (b *bundle) requireWhole() tally {
	b.t.Helper()
	b.waitSettled()
	c := b.audit()
	b.t.Log(c)
	c.requireWhole(b.t)
	return c
}

func (c tally) requireWhole(t testing.TB) {
	t.Helper()
	require.Zero(t, c.lost, "lost")
	require.Zero(t, c.reordered, "out of order within a key")
	require.Zero(t, c.foreign, "never sent")
	require.Equal(t, c.sent, c.delivered)
}

func (c tally) plus(other tally) tally {
	return tally{
		c.sent + other.sent, c.delivered + other.delivered, c.duplicated + other.duplicated,
		c.reordered + other.reordered, c.lost + other.lost, c.foreign + other.foreign,
	}
}

// The counting itself must be able to fail.
func TestReckonCountsWhatIsWrong(t *testing.T) {
	t.Parallel()
	record := func(key string, number int) bustest.Record {
		digits := strconv.Itoa(number)
		return bustest.Record{
			Key: []byte(key), Value: []byte(digits),
			Headers: []bustest.RecordHeader{{Key: "_watermill_message_uuid", Value: []byte(key + "-" + digits)}},
		}
	}
	sent := map[string]bool{"a-0": true, "a-1": true, "a-2": true, "b-0": true, "b-1": true}

	got := reckon(t, sent, []bustest.Record{
		record("a", 0), record("a", 2), record("a", 1), record("a", 0), record("b", 0), record("c", 0),
	})

	require.Equal(t, tally{sent: 5, delivered: 5, duplicated: 1, reordered: 1, lost: 1, foreign: 1}, got)
}
