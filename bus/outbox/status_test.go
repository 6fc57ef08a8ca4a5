package outbox_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// TestStatusTellsTheRefusedFromThoseBehind them.
func TestStatusTellsTheRefusedFromThoseBehind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO event_outbox (event_id, topic, payload, key, retry_count, error_message, processed_at) VALUES
		('before', 't', '', 'k', 0, NULL, NULL), -- it is not behind
		('done', 't', '', 'k', 1, 'it was once refused', now()),
		('head', 't', '', 'k', 1, 'the first reason', NULL),
		('behind', 't', '', 'k', 0, NULL, NULL),
		('another topic', 'u', '', 'k', 0, NULL, NULL),
		('another key', 't', '', 'l', 0, NULL, NULL),
		('no key', 't', '', NULL, 2, 'another reason', NULL),
		('no key either', 't', '', NULL, 0, NULL, NULL),
		('empty key', 't', '', '', 1, 'a third one', NULL),
		('empty key, too', 't', '', '', 0, NULL, NULL),
		('behind, too', 't', '', 'k', 0, NULL, NULL),
		('dead', 't', '', 'd', 3, 'dead', NULL), -- it holds nothing back
		('behind the dead', 't', '', 'd', 0, NULL, NULL),
		('delivered', 't', '', 'k', 0, NULL, now())`)
	status, err := outbox.Status(b.ctx, b.db, "")
	require.NoError(t, err)
	require.Equal(t, [4]int64{11, 3, 2, 1}, [4]int64{status.Pending, status.Retrying, status.Blocked, status.Dead})
	require.Equal(t, "the first reason", status.Refusal)

	b.exec(t, `UPDATE event_outbox SET processed_at = now() WHERE retry_count > 0`)
	status, err = outbox.Status(b.ctx, b.db, "")
	require.NoError(t, err)
	require.Equal(t, [4]int64{8, 0, 0, 0}, [4]int64{status.Pending, status.Retrying, status.Blocked, status.Dead})
	require.Empty(t, status.Refusal)
}

// TestStatusHearsTheOwner: by what its session does, which not every role may see.
func TestStatusHearsTheOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	store, err := outbox.NewStore(b.db, "")
	require.NoError(t, err)
	claim, err := store.Claim(b.ctx, "host:1", time.Minute)
	require.NoError(t, err)
	b.exec(t, `UPDATE event_outbox_forwarder SET owned_since = now() - interval '2 hours', beat_at = now() - interval '1 hour'`)
	require.NoError(t, claim.Beat(b.ctx))

	role := "watcher_" + strings.ToLower(scalar[string](t, b, `SELECT md5(current_database())`))
	b.exec(t, `CREATE ROLE `+role+`; GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+role+`; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO `+role)
	t.Cleanup(func() {
		_, err := b.db.Exec(`DROP OWNED BY ` + role + `; DROP ROLE ` + role)
		require.NoError(t, err)
	})
	watcher, err := sql.Open("postgres", withOption(t, b.dsn, "options", "-c role="+role))
	require.NoError(t, err)
	defer watcher.Close()

	for db, heard := range map[*sql.DB]time.Duration{b.db: 0, watcher: time.Hour} {
		status, err := outbox.Status(b.ctx, db, "")
		require.NoError(t, err)
		require.Equal(t, "host:1", status.Owner)
		require.InDelta(t, 2*time.Hour, status.Owned, float64(5*time.Minute))
		require.InDelta(t, 2*time.Hour, time.Since(status.OwnedSince), float64(5*time.Minute))
		require.InDelta(t, heard, status.LastBeat, float64(5*time.Minute))
	}
	require.NoError(t, claim.Release(b.ctx))
	require.Eventually(t, func() bool {
		status, err := outbox.Status(b.ctx, b.db, "")
		require.NoError(t, err)
		return status.Owner == "" && status.LastBeat == 0 && status.OwnedSince.IsZero()
	}, time.Minute, 10*time.Millisecond)
}
