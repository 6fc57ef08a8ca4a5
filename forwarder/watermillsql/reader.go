package watermillsql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/internal/pglease"
)

// reader runs every statement of the lease's connection: it reads ahead of the recorded position, unwraps
// what it reads, and keeps the lease.
type reader struct {
	config *Config
	lease  *pglease.Lease
	rows   *sql.Stmt
	gating *sql.Stmt
	out    chan *chunk
	wake   chan struct{}
	done   chan struct{}
	quit   func()

	// Set by the session: how many rows and bytes may be read in all.
	rowsUntil, bytesUntil atomic.Int64
	stopped               atomic.Bool // no more reads
	// hungry: it had no room, and is to be nudged when there is.
	hungry atomic.Bool

	total    int64 // rows ever read
	bytes    int64 // of these
	at       position
	gate     int64 // no row can come any more below this transaction
	limit    int
	names    names
	poll     time.Duration
	busyTill time.Time
	nextBeat time.Time
	nextGate time.Time
}

const (
	// busyFor is how long after the last row the reader polls at its quickest.
	busyFor = time.Second
	// gateEvery bounds how often the reader asks who holds it up.
	gateEvery = 10 * time.Millisecond
)

func newReader(ctx context.Context, config *Config, t tables, lease *pglease.Lease, at position) (*reader, error) {
	r := &reader{
		config: config, lease: lease, out: make(chan *chunk, 1), wake: make(chan struct{}, 1), done: make(chan struct{}),
		at: at, limit: config.BatchSize, names: names{}, poll: config.PollMin,
	}
	r.quit = sync.OnceFunc(func() { close(r.done) })
	r.rowsUntil.Store(int64(config.Window))
	r.bytesUntil.Store(config.WindowBytes)
	for _, p := range []struct {
		into **sql.Stmt
		text string
	}{{&r.rows, t.readQuery()}, {&r.gating, t.gateQuery()}} {
		stmt, err := lease.Conn().PrepareContext(ctx, p.text) //nolint:sqlclosecheck // It ends with the connection.
		if err != nil {
			return nil, wrap("prepare the reader", err)
		}
		*p.into = stmt
	}
	return r, nil
}

// nudge makes the reader look again at what it may do.
func (r *reader) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

var errQuit = errors.New("watermillsql: the reader was told to quit")

// run reads until it is told to quit or ctx ends, which is no error, or the lease is lost.
func (r *reader) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.done:
			return nil
		default:
		}
		wait, err := r.step(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, errQuit) {
				return nil
			}
			return err
		}
		if wait <= 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-r.done:
			return nil
		case <-timer.C:
		case <-r.wake:
		}
	}
}

// step reads once, if there is room, and returns how long to wait before the next.
func (r *reader) step(ctx context.Context) (time.Duration, error) {
	wait := r.config.PollMax
	room := r.room()
	if room <= 0 {
		r.hungry.Store(true)
		room = r.room() // it may have come in between
	}
	if room > 0 && !r.stopped.Load() {
		more, err := r.read(ctx, min(int(room), r.limit))
		if err != nil {
			return 0, err
		}
		if !more {
			if more, err = r.look(ctx); err != nil {
				return 0, err
			}
		}
		wait = r.poll
		if more {
			wait = 0
		}
	}
	if err := r.beat(ctx); err != nil {
		return 0, err
	}
	return min(wait, time.Until(r.nextBeat)), nil
}

// room is how many rows may be read now.
func (r *reader) room() int64 {
	if r.bytes >= r.bytesUntil.Load() {
		return 0
	}
	return r.rowsUntil.Load() - r.total
}

// read makes one read, hands on what it found and reports whether there may be more.
func (r *reader) read(ctx context.Context, limit int) (more bool, err error) {
	start := time.Now()
	c := &chunk{}
	cut := false
	err = r.lease.Do(func() error {
		rows, err := r.rows.QueryContext(ctx, decimal(r.at.transaction), r.at.offset, decimal(r.gate), limit)
		if err != nil {
			return err
		}
		cut, err = r.scan(rows, c)
		return err
	})
	if err != nil {
		return false, wrap("read", err)
	}
	r.alive(start)
	n := len(c.entries)
	r.total += int64(n)
	switch {
	case cut: // rows are large: not all of the next ones, either
		r.limit = n
	case n == limit:
		r.limit = min(2*max(r.limit, 1), r.config.BatchSize)
	}
	if n == 0 {
		if start.After(r.busyTill) {
			r.poll = min(r.config.PollMax, r.poll+r.poll/2)
		}
		return false, nil
	}
	r.poll, r.busyTill = r.config.PollMin, start.Add(busyFor)
	r.at = c.entries[n-1].at
	return cut || n == limit, r.hand(ctx, c)
}

// scan unwraps rows until their bytes fill the window, which it reports; at least one.
func (r *reader) scan(rows *sql.Rows, c *chunk) (cut bool, err error) {
	defer func() { _ = rows.Close() }()
	until := r.bytesUntil.Load()
	var uuid, payload, metadata sql.RawBytes
	for rows.Next() {
		if len(c.entries) > 0 && r.bytes >= until {
			return true, nil
		}
		var e entry
		if err := rows.Scan(&e.at.offset, &e.at.transaction, &uuid, &payload, &metadata); err != nil {
			return false, err
		}
		e.record, e.err = r.names.unwrap(payload, r.config.KeyMetadata)
		if e.err != nil && e.record.Topic == "" {
			e.record = r.names.wrapped(uuid, payload, metadata)
		}
		e.bytes = sizeOf(&e.record)
		r.bytes += int64(e.bytes)
		c.entries = append(c.entries, e)
	}
	return false, rows.Err()
}

// wrapped is the row as it stands, for the dead letters.
func (n names) wrapped(uuid, payload, metadata []byte) delivery.Record {
	record := delivery.Record{
		Value: append([]byte(nil), payload...), Headers: []delivery.Header{{Key: delivery.UUIDHeader, Value: append([]byte(nil), uuid...)}},
	}
	var fields map[string]string
	if json.Unmarshal(metadata, &fields) != nil {
		return record
	}
	for name, value := range fields {
		record.Headers = append(record.Headers, delivery.Header{Key: n.intern([]byte(name)), Value: []byte(value)})
	}
	slices.SortFunc(record.Headers[1:], byName)
	return record
}

func sizeOf(record *delivery.Record) int {
	n := len(record.Value) + len(record.Key)
	for _, header := range record.Headers {
		n += len(header.Key) + len(header.Value)
	}
	return n
}

// look asks whether rows can be read beyond the oldest open transaction, since that is one of another
// database, and reports whether to try.
func (r *reader) look(ctx context.Context) (bool, error) {
	now := time.Now()
	if now.Before(r.nextGate) {
		return false, nil
	}
	var gate int64
	err := r.lease.Do(func() error {
		err := r.gating.QueryRowContext(ctx, decimal(r.at.transaction), r.at.offset).Scan(&gate)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // nothing is held up
		}
		return err
	})
	if err != nil {
		return false, wrap("read who writes to the database", err)
	}
	r.alive(now)
	r.nextGate = now.Add(gateEvery)
	if gate <= r.gate {
		return false, nil
	}
	r.gate = gate
	return true, nil
}

// alive notes a successful statement, which is a heartbeat too.
func (r *reader) alive(at time.Time) { r.nextBeat = at.Add(r.config.Lease / 4) }

func (r *reader) beat(ctx context.Context) error {
	now := time.Now()
	if now.Before(r.nextBeat) {
		return nil
	}
	if err := r.lease.Beat(ctx); err != nil {
		return wrap("beat", err)
	}
	r.alive(now)
	return nil
}

// hand gives the session what was read, beating for as long as the session is busy.
func (r *reader) hand(ctx context.Context, c *chunk) error {
	for {
		timer := time.NewTimer(time.Until(r.nextBeat))
		select {
		case r.out <- c:
			timer.Stop()
			return nil
		case <-r.done:
			timer.Stop()
			return errQuit
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
			if err := r.beat(ctx); err != nil {
				return err
			}
		}
	}
}
