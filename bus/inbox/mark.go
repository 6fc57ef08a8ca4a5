package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxName is the width of the columns consumer and event_id, in characters.
const maxName = 255

// checkName refuses what the columns cannot hold.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case !utf8.ValidString(name):
		return errors.New("is not valid UTF-8")
	case strings.IndexByte(name, 0) >= 0:
		return errors.New("has a NUL character")
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Errorf("has %d characters, at most %d are possible", utf8.RuneCountInString(name), maxName)
	}
	return nil
}

// marker writes a consumer's marks.
//
// The event id stands in the statement's text where it consists of characters that mean nothing in SQL,
// as a UUID does: a statement without parameters is one round trip, with them it is two in lib/pq. Any
// other id is a parameter.
type marker struct {
	table    table
	consumer string
	// before and after stand around a plain id; before is "" if the consumer's own name is not plain.
	before, after string
	parameters    string
}

func newMarker(t table, consumer string) *marker {
	const conflict = " ON CONFLICT (consumer, event_id) DO NOTHING"
	into := "INSERT INTO " + t.Quoted() + " (consumer, event_id) VALUES ("
	m := &marker{table: t, consumer: consumer, parameters: into + "$1, $2)" + conflict}
	if isPlain(consumer) {
		m.before, m.after = into+"'"+consumer+"', '", "')"+conflict
	}
	return m
}

// mark reports whether the event was not marked yet. It waits for another transaction that is about to
// mark it.
func (m *marker) mark(ctx context.Context, tx *sql.Tx, id string) (bool, error) {
	var result sql.Result
	var err error
	if m.before != "" && isPlain(id) {
		result, err = tx.ExecContext(ctx, m.before+id+m.after)
	} else {
		result, err = tx.ExecContext(ctx, m.parameters, m.consumer, id)
	}
	if err != nil {
		return false, explainMark(ctx, m.table, err)
	}
	marked, err := result.RowsAffected()
	if err != nil {
		return false, explainMark(ctx, m.table, err)
	}
	return marked > 0, nil
}

func isPlain(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return text != ""
}
