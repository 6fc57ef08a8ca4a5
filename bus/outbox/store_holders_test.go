package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// Who may still write keeps its transaction id when it is prepared, and that tells exactly when its rows can
// be seen.
func TestHoldersAreKnownByTheirTransactionID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	store, err := outbox.NewStore(b.db, "")
	require.NoError(t, err)
	claim, err := store.Claim(b.ctx, "test", time.Minute)
	require.NoError(t, err)
	defer func() { require.NoError(t, claim.Release(b.ctx)) }()
	only := func() (name string, id uint32) {
		t.Helper()
		holders, err := claim.Holders(b.ctx)
		require.NoError(t, err)
		require.Len(t, holders, 1)
		name = slices.Collect(maps.Keys(holders))[0]
		return name, holders[name]
	}
	has := func(id uint32) bool {
		t.Helper()
		running, err := claim.Running(b.ctx)
		require.NoError(t, err)
		return running.Has(id)
	}
	holders, err := claim.Holders(b.ctx)
	require.NoError(t, err)
	require.Empty(t, holders)

	conn, err := b.db.Conn(b.ctx)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	exec := func(query string) {
		t.Helper()
		_, err := conn.ExecContext(b.ctx, query)
		require.NoError(t, err)
	}
	exec(`BEGIN`)
	exec(`DELETE FROM event_outbox WHERE false`)
	name, id := only()
	require.Zero(t, id, "it has written nothing yet")
	exec(`INSERT INTO event_outbox (event_id, topic, payload) VALUES ('1', 't', 'x')`)
	for i := range 3 { // each has a transaction id of its own, whose lock it keeps
		exec(fmt.Sprintf(`SAVEPOINT s%d`, i))
		exec(fmt.Sprintf(`INSERT INTO event_outbox (event_id, topic, payload) VALUES ('s%d', 't', 'x')`, i))
	}
	var want string
	require.NoError(t, conn.QueryRowContext(b.ctx, `SELECT pg_current_xact_id()::xid::text`).Scan(&want))
	named, id := only()
	require.Equal(t, name, named)
	require.Equal(t, want, strconv.FormatUint(uint64(id), 10), "the transaction's, not a savepoint's")
	require.False(t, outbox.Prepared(named))
	require.True(t, has(id))
	require.True(t, has(id+1<<30), "one that has not begun")
	require.False(t, has(3), "the cluster's first")

	if preparedTransactions(b.ctx, t, b.db) {
		exec(`PREPARE TRANSACTION 'held'`)
		prepared, sameID := only()
		require.True(t, prepared == named || outbox.Prepared(prepared), prepared)
		require.Equal(t, id, sameID)
		require.True(t, has(id))
		exec(`COMMIT PREPARED 'held'`)
	} else {
		exec(`COMMIT`)
	}
	require.False(t, has(id))
	require.Len(t, ids(t, b, "true"), 4)

	exec(`BEGIN`)
	exec(`INSERT INTO event_outbox (event_id, topic, payload) VALUES ('2', 't', 'x')`)
	_, other := only()
	exec(`ROLLBACK`)
	gone, err := claim.RolledBack(b.ctx, []uint32{id, other})
	require.NoError(t, err)
	require.Equal(t, map[uint32]struct{}{other: {}}, gone)
	holders, err = claim.Holders(b.ctx)
	require.NoError(t, err)
	require.Empty(t, holders)
}

func preparedTransactions(ctx context.Context, t testing.TB, db *sql.DB) bool {
	t.Helper()
	var most int
	require.NoError(t, db.QueryRowContext(ctx, `SELECT current_setting('max_prepared_transactions')::int`).Scan(&most))
	return most > 0
}
