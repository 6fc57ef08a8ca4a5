package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ownership finds who owns the outbox. The lock tells whether anybody does: a process that was killed
// leaves its name in the state table.
func (s *TableStatus) ownership(ctx context.Context, db *sql.DB, t table) error {
	var seconds float64
	err := db.QueryRowContext(ctx, `SELECT coalesce(owner, 'unnamed'), coalesce(extract(epoch FROM now() - owned_since), 0)::float8
		FROM `+t.stateTable()+` WHERE id = 1 AND EXISTS (SELECT FROM pg_locks
			WHERE locktype = 'advisory' AND granted AND objsubid = 1
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND (classid::bigint << 32) | objid::bigint = $1)`, t.lockKey()).Scan(&s.Owner, &seconds)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("outbox: ask who owns %s: %w", t.quoted(), err)
	}
	s.Owned = time.Duration(seconds * float64(time.Second))
	return nil
}
