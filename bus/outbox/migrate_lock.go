package outbox

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pressly/goose/v3/database"
)

// migrationPoll is how often a process asks whether it is its turn.
const migrationPoll = 25 * time.Millisecond

// migrationLocker lets one process migrate a table at a time. It implements goose's SessionLocker.
//
// The lock is asked for again and again, never waited for: a session that waits holds a snapshot, and
// the CREATE INDEX CONCURRENTLY of the one that has the lock would wait for it in turn, for ever.
type migrationLocker struct {
	key         int64
	lockTimeout time.Duration
}

func (m *migrator) sessionLocker() migrationLocker {
	return migrationLocker{key: m.table.migrationKey(), lockTimeout: m.config.LockTimeout}
}

// SessionLock waits for its turn and bounds the session's waits for locks.
func (l migrationLocker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		var mine bool
		if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, l.key).Scan(&mine); err != nil {
			return fmt.Errorf("outbox: ask for the migration lock: %w", err)
		}
		if mine {
			break
		}
		if err := wait(ctx, migrationPoll); err != nil {
			return fmt.Errorf("outbox: wait for another process that migrates the table: %w", err)
		}
	}
	if _, err := conn.ExecContext(ctx, `SET lock_timeout = `+strconv.FormatInt(l.lockTimeout.Milliseconds(), 10)); err != nil {
		return errors.Join(fmt.Errorf("outbox: bound the waits for locks: %w", err), l.SessionUnlock(ctx, conn))
	}
	return nil
}

// SessionUnlock gives the lock back and leaves the session as it was found. When that fails, the
// connection is closed, since it would carry the lock into the pool.
func (l migrationLocker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := conn.ExecContext(ctx, `RESET lock_timeout; RESET max_parallel_maintenance_workers`)
	if err == nil {
		_, err = conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, l.key)
	}
	if err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		return fmt.Errorf("outbox: give the migration lock back: %w", err)
	}
	return nil
}

// locked runs do on a connection that holds the migration lock.
func (m *migrator) locked(ctx context.Context, do func(context.Context, *sql.Conn) error) error {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("outbox: connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	locker := m.sessionLocker()
	if err := locker.SessionLock(ctx, conn); err != nil {
		return err
	}
	return errors.Join(do(ctx, conn), locker.SessionUnlock(ctx, conn))
}

// versionStore is goose's PostgreSQL store under a quoted table name.
type versionStore struct {
	database.Store
	name string
}

func newVersionStore(t table) (*versionStore, error) {
	store, err := database.NewStore(database.DialectPostgres, t.versionTable())
	if err != nil {
		return nil, fmt.Errorf("outbox: open the version table: %w", err)
	}
	return &versionStore{Store: store, name: t.versionTable()}, nil
}

// TableExists is asked by goose instead of provoking an error. Its own version does not know quotes.
func (s *versionStore) TableExists(ctx context.Context, db database.DBTxConn) (exists bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, s.name).Scan(&exists)
	return exists, err
}
