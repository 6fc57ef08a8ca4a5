package pgtable

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// migrationPoll is how often a process asks whether it is its turn.
const migrationPoll = 25 * time.Millisecond

// locker lets one process migrate a table at a time. It implements goose's SessionLocker.
//
// The lock is asked for again and again, never waited for: a session that waits holds a snapshot, and
// the CREATE INDEX CONCURRENTLY of the one that has the lock would wait for it in turn, for ever.
type locker struct {
	key         int64
	lockTimeout time.Duration
}

// SessionLock waits for its turn and bounds the session's waits for locks.
func (l locker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		var mine bool
		if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, l.key).Scan(&mine); err != nil {
			return fmt.Errorf("ask for the migration lock: %w", err)
		}
		if mine {
			break
		}
		if err := Wait(ctx, migrationPoll); err != nil {
			return fmt.Errorf("wait for another process that migrates the table: %w", err)
		}
	}
	if _, err := conn.ExecContext(ctx, `SET lock_timeout = `+strconv.FormatInt(l.lockTimeout.Milliseconds(), 10)); err != nil {
		return errors.Join(fmt.Errorf("bound the waits for locks: %w", err), l.SessionUnlock(ctx, conn))
	}
	return nil
}

// SessionUnlock gives the lock back and leaves the session as it was found. When that fails, the
// connection is closed, since it would carry the lock into the pool.
func (l locker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := conn.ExecContext(ctx, `RESET lock_timeout; RESET max_parallel_maintenance_workers`)
	if err == nil {
		_, err = conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, l.key)
	}
	if err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		return fmt.Errorf("give the migration lock back: %w", err)
	}
	return nil
}
