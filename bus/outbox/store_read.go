package outbox

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/lib/pq"
)

// Row is one row of the outbox as a forwarder reads it.
type Row struct {
	ID int64
	// Pending is false for a row that is processed or dead; of such a row only the ID is set.
	Pending bool
	EventID string
	Topic   string
	Payload []byte
	// Key is nil when the row has none.
	Key []byte
	// Headers is the column's JSON as it stands, nil for none.
	Headers    []byte
	RetryCount int
	MaxRetries int
	// Wait is how long the row's next attempt is still to wait, 0 when it is due.
	Wait time.Duration
	// Age is how long ago the row was written (created_at), by the database's clock as of the read; 0 if
	// created_at is before 1970 or not over yet.
	Age time.Duration
}

// Limit bounds what one statement returns.
type Limit struct {
	// Rows is the LIMIT of a read; a fetch is bounded by its ids.
	Rows int
	// Bytes ends the scan behind the row that reaches it, so that rows of a megabyte do not come by the
	// thousand. At least one row is returned. 0 is no bound.
	Bytes int64
}

// Range is a range of ids, both ends included.
type Range struct{ Low, High int64 }

// Read returns, in id order and from one snapshot, rows up to the limit: the pending ones within gaps,
// and all that have an id above after, pending or not (so that a settled row is not taken for a gap).
// Rows are appended to dst. It reports whether the limit may have cut off more.
func (c *Claim) Read(ctx context.Context, dst []Row, after int64, gaps []Range, limit Limit) (_ []Row, cut bool, err error) {
	start := len(dst)
	err = c.do("read", func() error {
		var rows *sql.Rows
		var err error
		if len(gaps) == 0 {
			rows, err = c.readAfter.QueryContext(ctx, after, limit.Rows)
		} else {
			low, high := make(pq.Int64Array, len(gaps)), make(pq.Int64Array, len(gaps))
			for i, gap := range gaps {
				low[i], high[i] = gap.Low, gap.High
			}
			rows, err = c.read.QueryContext(ctx, low, high, after, limit.Rows)
		}
		if err != nil {
			return err
		}
		dst, cut, err = scanRows(rows, dst, limit.Bytes)
		return err
	})
	return dst, cut || len(dst)-start == limit.Rows, err
}

// Fetch returns those of the rows that are pending, in id order, appended to dst. It reports whether the
// limit's bytes cut off rows behind the last one.
func (c *Claim) Fetch(ctx context.Context, dst []Row, ids []int64, limit Limit) (_ []Row, cut bool, err error) {
	err = c.do("fetch", func() error {
		rows, err := c.fetch.QueryContext(ctx, pq.Int64Array(ids))
		if err != nil {
			return err
		}
		dst, cut, err = scanRows(rows, dst, limit.Bytes)
		return err
	})
	return dst, cut, err
}

// Unsettled looks at the next limit rows with ids in (after, upTo] and returns the ids of the pending
// ones and how far it came: upTo once there is nothing more.
func (c *Claim) Unsettled(ctx context.Context, after, upTo int64, limit int) (ids []int64, last int64, err error) {
	err = c.do("sweep", func() error {
		var seen int
		var highest sql.NullInt64
		if err := c.pending.QueryRowContext(ctx, after, upTo, limit).Scan((*pq.Int64Array)(&ids), &highest, &seen); err != nil {
			return err
		}
		last = highest.Int64
		if seen < limit {
			last = upTo
		}
		return nil
	})
	return ids, last, err
}

// unsettledQuery has the server leave out what is settled, which is nearly all, rather than send it.
func unsettledQuery(name, pending string) string {
	return `SELECT array_agg(id ORDER BY id) FILTER (WHERE pending), max(id), count(*) FROM (
		SELECT id, (` + pending + `) AS pending FROM ` + name + ` WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3) step`
}

// plausible is, in SQL, whether created_at is a time at which a row can have been written. Anybody may write
// it, and an age cannot be told of -infinity, nor counted in microseconds of the year 294276.
const plausible = `created_at > '1970-01-01+00' AND created_at <= now()`

// ageMicroseconds is Row.Age in SQL.
const ageMicroseconds = `CASE WHEN ` + plausible + ` THEN (date_part('epoch', now() - created_at) * 1000000)::bigint ELSE 0 END`

func scanRows(rows *sql.Rows, dst []Row, most int64) (_ []Row, cut bool, err error) {
	defer func() { _ = rows.Close() }()
	first := len(dst)
	var scan rowScan
	defer func() { scan.nameEvents(dst[first:]) }()
	columns := scan.columns()
	for rows.Next() {
		if most > 0 && scan.size >= most {
			return dst, true, nil
		}
		if err := rows.Scan(columns...); err != nil {
			return dst, false, err
		}
		dst = append(dst, Row{})
		scan.row(&dst[len(dst)-1])
	}
	return dst, false, rows.Err()
}

// rowScan is the columns of a row as database/sql hands them over, numbers as they come, since converting
// them by kind costs it a string each. The bytes of many rows share few allocations; a chunk of rows lives
// until its last one is settled.
type rowScan struct {
	id, retries, maxRetries, age        any
	pending                             bool
	event, topic, payload, key, headers sql.RawBytes
	wait                                sql.NullFloat64
	arena                               arena
	lastTopic                           string
	events                              []byte // the ids of the pending rows, each with a NUL behind it
	size                                int64
}

func (s *rowScan) columns() []any {
	return []any{&s.id, &s.pending, &s.event, &s.topic, &s.payload, &s.key, &s.headers, &s.retries, &s.maxRetries, &s.wait, &s.age}
}

// row fills in everything but the event id.
func (s *rowScan) row(row *Row) {
	row.ID = whole(s.id)
	if !s.pending {
		return
	}
	if string(s.topic) != s.lastTopic {
		s.lastTopic = string(s.topic)
	}
	row.Pending, row.Topic = true, s.lastTopic
	s.events = append(append(s.events, s.event...), 0)
	row.Payload, row.Key, row.Headers = s.arena.copy(s.payload), s.arena.copy(s.key), s.arena.copy(s.headers)
	row.RetryCount, row.MaxRetries = int(whole(s.retries)), int(whole(s.maxRetries))
	if s.wait.Valid {
		row.Wait = time.Duration(s.wait.Float64 * float64(time.Second))
	}
	row.Age = max(0, time.Duration(whole(s.age))*time.Microsecond) // a row is not younger than its read
	s.size += int64(len(s.payload) + len(s.key) + len(s.headers))
}

// nameEvents gives the pending rows their event ids, parts of one string.
func (s *rowScan) nameEvents(rows []Row) {
	all := string(s.events)
	for i := range rows {
		if rows[i].Pending {
			rows[i].EventID, all, _ = strings.Cut(all, "\x00")
		}
	}
}

// whole is a whole number as a driver hands it over; 0 for none.
func whole(value any) int64 {
	n, _ := value.(int64)
	return n
}

// arena copies byte slices into blocks.
type arena struct{ free []byte }

const arenaBlock = 64 << 10

// copy keeps the difference between no bytes and an empty slice.
func (a *arena) copy(b []byte) []byte {
	switch {
	case b == nil:
		return nil
	case len(b) == 0:
		return []byte{}
	}
	if len(b) > len(a.free) {
		if len(b) > arenaBlock/4 {
			return append(make([]byte, 0, len(b)), b...)
		}
		a.free = make([]byte, arenaBlock)
	}
	n := copy(a.free, b)
	out := a.free[:n:n]
	a.free = a.free[n:]
	return out
}
