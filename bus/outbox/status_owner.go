package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ownership finds who owns the outbox. The lock tells whether anybody does: a process that was killed
// leaves its name in the state table. What its session did last is its last heartbeat; a role that may not see that
// finds the last low-water mark, which an owner stores only while something is delivered.
func (s *TableStatus) ownership(ctx context.Context, db *sql.DB, t table) error {
	var owned, beat float64
	var since sql.NullTime
	err := db.QueryRowContext(ctx, `SELECT coalesce(state.owner, 'unnamed'), state.owned_since,
			coalesce(extract(epoch FROM now() - state.owned_since), 0)::float8,
			coalesce(extract(epoch FROM now() - greatest(state.owned_since, state.beat_at, session.state_change)), 0)::float8
		FROM `+t.stateTable()+` state, pg_locks held LEFT JOIN pg_stat_activity session ON session.pid = held.pid
		WHERE state.id = 1 AND held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
			AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND (held.classid::bigint << 32) | held.objid::bigint = $1`, t.lockKey()).Scan(&s.Owner, &since, &owned, &beat)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("outbox: ask who owns %s: %w", t.quoted(), err)
	}
	s.OwnedSince = since.Time
	s.Owned = time.Duration(owned * float64(time.Second))
	s.LastBeat = max(0, time.Duration(beat*float64(time.Second)))
	return nil
}

// refusals counts the events that are tried again and those that wait behind them. Lowest is the first of them.
func (s *TableStatus) refusals(ctx context.Context, db *sql.DB, t table, lowest int64) error {
	err := db.QueryRowContext(ctx, `SELECT coalesce(error_message, '') FROM `+t.quoted()+` WHERE id = $1`, lowest).Scan(&s.Refusal)
	if err != nil && !errors.Is(err, sql.ErrNoRows) { // it may be delivered by now
		return fmt.Errorf("outbox: read why event %d of %s was refused: %w", lowest, t.quoted(), err)
	}
	const pending = `processed_at IS NULL AND retry_count < max_retries`
	err = db.QueryRowContext(ctx, `WITH head AS MATERIALIZED (
			SELECT topic, key, min(id) AS id FROM `+t.quoted()+` WHERE `+pending+` AND retry_count > 0 AND key <> '' GROUP BY topic, key)
		SELECT count(*) FROM (SELECT FROM `+t.quoted()+` behind JOIN head ON behind.topic = head.topic AND behind.key = head.key AND behind.id > head.id
			WHERE behind.id > $1 AND `+pending+` AND retry_count = 0 LIMIT $2) blocked`, lowest, countLimit).Scan(&s.Blocked)
	if err != nil {
		return fmt.Errorf("outbox: count what waits behind refused events of %s: %w", t.quoted(), err)
	}
	return nil
}
