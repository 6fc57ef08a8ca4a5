package outbox_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

func TestRevive(t *testing.T) { onBothTables(t, revive) }

func revive(t *testing.T, b bundle) {
	db := b.db
	_, err := db.ExecContext(t.Context(), `INSERT INTO event_outbox (id, event_id, topic, payload, retry_count, max_retries, processed_at, error_message, next_attempt_at) VALUES
		(1, 'dead', 't', '{}', 3, 3, NULL, 'boom', now()), (2, 'waiting', 't', '{}', 1, 3, NULL, 'boom', now() + interval '1 hour'),
		(3, 'new', 't', '{}', 0, 3, NULL, NULL, NULL), (4, 'delivered', 't', '{}', 3, 3, now(), NULL, NULL),
		(6, 'dying', 't', '{}', 2, 3, NULL, 'boom', now() - interval '1 second'), (7, 'last', 't', '{}', 2, 3, NULL, 'boom', now() + interval '1 hour'),
		(8, 'only', 't', '{}', 0, 1, NULL, NULL, NULL)`)
	require.NoError(t, err)
	reviver, err := outbox.NewReviver(db, "")
	require.NoError(t, err)
	for _, tt := range []struct {
		shows   string
		row     int64
		eventID string
		want    deadletter.RowState
	}{
		{"a dead row is pending again", 1, "dead", deadletter.RowRevived},
		{"and alive the second time", 1, "dead", deadletter.RowAlive},
		{"one that waits for its next attempt is alive", 2, "waiting", deadletter.RowAlive},
		{"so is a new one", 3, "new", deadletter.RowAlive},
		{"a delivered one stays so", 4, "delivered", deadletter.RowAlive},
		{"one whose last attempt is made may be dying just now", 6, "dying", deadletter.RowDying},
		{"but not before that", 7, "last", deadletter.RowAlive},
		{"the first attempt may be the last", 8, "only", deadletter.RowDying},
		{"a row of another outbox's event is none", 4, "dead", deadletter.RowMissing},
		{"as one that was purged", 5, "purged", deadletter.RowMissing},
	} {
		got, err := reviver.Revive(t.Context(), tt.row, tt.eventID)
		require.NoError(t, err, tt.shows)
		require.Equal(t, tt.want, got, tt.shows)
	}
	var clean, waiting bool
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT
		bool_and(retry_count = 0 AND error_message IS NULL AND next_attempt_at IS NULL AND processed_at IS NULL) FILTER (WHERE id = 1),
		bool_and(retry_count = 1 AND next_attempt_at > now()) FILTER (WHERE id = 2) FROM event_outbox`).Scan(&clean, &waiting))
	require.True(t, clean)
	require.True(t, waiting)

	_, err = outbox.NewReviver(nil, "")
	require.ErrorContains(t, err, "database is missing")
	_, err = outbox.NewReviver(db, "a.b.c")
	require.Error(t, err)
	elsewhere, err := outbox.NewReviver(db, "none")
	require.NoError(t, err)
	_, err = elsewhere.Revive(t.Context(), 1, "dead")
	require.ErrorContains(t, err, "none")
}
