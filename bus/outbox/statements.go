package outbox

import (
	"encoding/hex"
	"sync"
)

// statements is the text of a table's INSERTs. One text for all calls lets the server, a pooler and
// pg_stat_statements know them again.
type statements struct{ one, oneRetries, many, manyRetries string }

const ignoreDuplicates = " ON CONFLICT DO NOTHING"

var knownStatements sync.Map // table → *statements

func statementsFor(t table) *statements {
	if known, ok := knownStatements.Load(t); ok {
		return known.(*statements)
	}
	const columns = "event_id, topic, payload, key, headers"
	into := "INSERT INTO " + t.quoted() + " (" + columns
	// The order of the arrays becomes the order of the ids.
	const unnest = "FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::text[]) WITH ORDINALITY AS e(event_id, topic, payload, key, headers, n) ORDER BY n"
	s := &statements{
		one:         into + ") VALUES ($1, $2, $3, $4, $5)",
		oneRetries:  into + ", max_retries) VALUES ($1, $2, $3, $4, $5, $6)",
		many:        into + ") SELECT event_id, topic, payload, key, headers::json " + unnest,
		manyRetries: into + ", max_retries) SELECT event_id, topic, payload, key, headers::json, $6::integer " + unnest,
	}
	known, _ := knownStatements.LoadOrStore(t, s)
	return known.(*statements)
}

// array builds an array literal (PostgreSQL manual, 8.15.6) in one allocation; pq's array types have no
// NULL elements and copy each element.
type array struct{ b []byte }

func newArray(size int) *array { return &array{b: append(make([]byte, 0, size+2), '{')} }

func (a *array) next() {
	if len(a.b) > 1 {
		a.b = append(a.b, ',')
	}
}

func (a *array) null() {
	a.next()
	a.b = append(a.b, "NULL"...)
}

func (a *array) text(s string) {
	a.next()
	a.b = append(a.b, '"')
	start := 0
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' {
			a.b = append(append(a.b, s[start:i]...), '\\', c)
			start = i + 1
		}
	}
	a.b = append(append(a.b, s[start:]...), '"')
}

func (a *array) bytes(p []byte) {
	a.next()
	a.b = append(a.b, `"\\x`...)
	a.b = hex.AppendEncode(a.b, p)
	a.b = append(a.b, '"')
}

// String ends the array.
func (a *array) String() string {
	a.b = append(a.b, '}')
	return string(a.b)
}
