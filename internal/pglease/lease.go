// Package pglease gives something in a PostgreSQL database to one process at a time.
package pglease

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strconv"
	"sync/atomic"
	"time"
)

// ErrLost says that the lease is over: a statement on its connection failed.
var ErrLost = errors.New("the lease is lost")

// Lease is a session advisory lock and the connection that holds it. All reading is done on that
// connection, so that a lost lock is a failed read. It is for one goroutine, except for [Lease.Valid].
//
// The server frees the lock when the connection ends, and ends the connection itself when it hears
// nothing for the lease's span (idle_session_timeout), or can't get rid of an answer for that long
// (tcp_user_timeout), so that a frozen owner is replaced. The owner in turn must not act once its last
// heartbeat is older than that, which is what Valid tells.
type Lease struct {
	conn *sql.Conn
	pid  int
	span time.Duration

	lastBeat atomic.Int64
	lost     atomic.Bool
}

// margin is how much longer the server waits than the owner trusts itself, for clocks that tick at
// different speeds and for a request that was about to leave.
const margin = 1.25

var epoch = time.Now()

// Open takes a connection for a lease of that span. What it returns must be abandoned.
func Open(ctx context.Context, db *sql.DB, span time.Duration) (*Lease, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	l := &Lease{conn: conn, span: span}
	l.lastBeat.Store(elapsed())
	return l, nil
}

func elapsed() int64 { return int64(time.Since(epoch)) }

// Lock tries once to take the advisory lock, and reports false when another session has it. It never waits:
// a waiting session would hold back vacuum and deadlock with CREATE INDEX CONCURRENTLY.
func (l *Lease) Lock(ctx context.Context, key int64) (bool, error) {
	// First of all: a process that freezes right behind its lock would otherwise hold it for ever.
	timeout := strconv.FormatInt(int64(float64(l.span.Milliseconds())*margin), 10)
	// A session is not idle while its answer, to one that froze in the middle of it, fills the socket's buffers.
	if _, err := l.conn.ExecContext(ctx, `SET idle_session_timeout = `+timeout+`; SET tcp_user_timeout = `+timeout); err != nil {
		return false, err
	}
	var owned bool
	if err := l.conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1), pg_backend_pid()`, key).Scan(&owned, &l.pid); err != nil || !owned {
		return false, err
	}
	// A parallel or JIT-compiled plan never pays for reading a thousand rows by primary key.
	_, err := l.conn.ExecContext(ctx, `SET jit = off;
		SET max_parallel_workers_per_gather = 0; SET default_transaction_isolation = 'read committed'; SET enable_seqscan = off; SET enable_bitmapscan = off`)
	return err == nil, err
}

// Conn is the connection. Its statements go through Do.
func (l *Lease) Conn() *sql.Conn { return l.conn }

// PID is the server process that holds the lock.
func (l *Lease) PID() int { return l.pid }

// Valid reports whether the owner may still act: the last heartbeat is younger than the lease's span and
// the connection has not failed. It is safe for concurrent use and does not ask the server.
func (l *Lease) Valid() bool {
	return !l.lost.Load() && elapsed()-l.lastBeat.Load() < int64(l.span)
}

// Lost reports whether the lease is over for good.
func (l *Lease) Lost() bool { return l.lost.Load() }

// Beat tells the server that the owner lives. Every other statement does, too.
func (l *Lease) Beat(ctx context.Context) error {
	return l.Do(func() error {
		_, err := l.conn.ExecContext(ctx, `SELECT 1`)
		return err
	})
}

// Do runs a statement; an error of it ends the lease. Its start is the heartbeat once it succeeded: the
// server's own idle time began later than that.
func (l *Lease) Do(statement func() error) error {
	if l.lost.Load() {
		return ErrLost
	}
	start := elapsed()
	if err := statement(); err != nil {
		l.lost.Store(true)
		return err
	}
	l.lastBeat.Store(start)
	return nil
}

// Abandon closes the connection for good: back in the pool it would still hold the lock and its settings.
func (l *Lease) Abandon() {
	l.lost.Store(true)
	Discard(l.conn)
}

// Discard closes a connection for good.
func Discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}
