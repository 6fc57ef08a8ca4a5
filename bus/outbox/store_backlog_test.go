package outbox_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

func TestBacklog(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t)
	_, err := outbox.Migrate(t.Context(), db, outbox.MigrateConfig{})
	require.NoError(t, err)
	store, err := outbox.NewStore(db, "")
	require.NoError(t, err)
	look := func(above, inHand int64) outbox.Backlog {
		t.Helper()
		b, err := store.Backlog(t.Context(), above, inHand)
		require.NoError(t, err)
		return b
	}
	require.Zero(t, look(0, 0), "an empty table")

	// Every other row is settled; the ages fall from 25,000 s.
	_, err = db.ExecContext(t.Context(), `INSERT INTO event_outbox (event_id, topic, payload, created_at, processed_at)
		SELECT i::text AS event, 't', '', now() - (25000 - i) * interval '1 second', CASE WHEN i % 2 = 0 THEN now() END FROM generate_series(1, 24000) i ORDER BY i`)
	require.NoError(t, err)

	few := look(20_000, 0)
	require.EqualValues(t, 2000, few.Pending, "few are counted, and only the pending ones")
	require.InDelta(t, 4999, few.Oldest.Seconds(), 60)
	require.InDelta(t, 24_990, look(20_000, 10).Oldest.Seconds(), 60, "the row in hand is older")
	require.InDelta(t, 12_000, float64(look(0, 0).Pending), 0, "many are estimated: here exactly, since every other one is pending")
	require.Equal(t, outbox.Backlog{}, look(24_000, 0))
	require.InDelta(t, 1000, look(24_000, 24_000).Oldest.Seconds(), 60)

	_, err = db.ExecContext(t.Context(), `UPDATE event_outbox SET created_at = CASE WHEN id < 24000 THEN '-infinity' ELSE 'infinity' END::timestamptz WHERE id > 23990`)
	require.NoError(t, err)
	require.Equal(t, outbox.Backlog{Pending: 5}, look(23_990, 24_000), "what is of no age is counted")
}
