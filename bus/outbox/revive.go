package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tailrace-go/tailrace/bus/deadletter"
)

// Reviver makes dead rows of an outbox pending again, in whatever shard they are. It is a deadletter.Outbox.
type Reviver struct {
	db    *sql.DB
	table table
}

var _ deadletter.Outbox = (*Reviver)(nil)

// NewReviver returns a reviver of a table; empty means [DefaultTable]. It asks the database nothing yet.
func NewReviver(db *sql.DB, tableName string) (*Reviver, error) {
	t, err := parseTable(tableName)
	if err == nil && db == nil {
		err = errors.New("outbox: the database is missing: give the one that holds the outbox")
	}
	if err != nil {
		return nil, err
	}
	return &Reviver{db, t}, nil
}

// Revive is deadletter.Outbox's. The forwarder finds the row within its sweep (10 s), and sends it behind
// the newer ones of its key.
func (r *Reviver) Revive(ctx context.Context, row int64, eventID string) (deadletter.RowState, error) {
	state, err := r.revive(ctx, r.table, row, eventID)
	if err != nil || state != deadletter.RowMissing {
		return state, err
	}
	// A letter does not tell the shard, but no other has this event under this id.
	shards, err := shardsOf(ctx, r.db, r.table)
	for _, shard := range shards {
		if err == nil && state == deadletter.RowMissing && shard.Number > 0 {
			state, err = r.revive(ctx, r.table.shard(shard.Number), row, eventID)
		}
	}
	return state, err
}

func (r *Reviver) revive(ctx context.Context, t table, row int64, eventID string) (deadletter.RowState, error) {
	result, err := r.db.ExecContext(ctx, `UPDATE `+t.quoted()+` SET retry_count = 0, next_attempt_at = NULL, error_message = NULL
		WHERE id = $1 AND event_id = $2 AND processed_at IS NULL AND retry_count >= max_retries`, row, eventID)
	var changed int64
	if err == nil {
		changed, err = result.RowsAffected()
	}
	if err != nil {
		return deadletter.RowMissing, fmt.Errorf("outbox: revive row %d of %s: %w", row, t.quoted(), err)
	}
	if changed > 0 {
		return deadletter.RowRevived, nil
	}
	var dying bool
	err = r.db.QueryRowContext(ctx, `SELECT processed_at IS NULL AND retry_count + 1 >= max_retries AND coalesce(next_attempt_at <= now(), true)
		FROM `+t.quoted()+` WHERE id = $1 AND event_id = $2`, row, eventID).Scan(&dying)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return deadletter.RowMissing, nil
	case err != nil:
		return deadletter.RowMissing, fmt.Errorf("outbox: look for row %d of %s: %w", row, t.quoted(), err)
	case dying:
		return deadletter.RowDying, nil
	}
	return deadletter.RowAlive, nil
}
