package pglease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/internal/pglease"
)

// TestFrozenInTheMiddleOfARead: the answer fills the buffers between, so that the server waits to send the rest
// of it. That is no idle session.
func TestFrozenInTheMiddleOfARead(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t)
	frozen, err := pglease.Open(t.Context(), db, 400*time.Millisecond)
	require.NoError(t, err)
	defer frozen.Abandon()
	owned, err := frozen.Lock(t.Context(), 1)
	require.NoError(t, err)
	require.True(t, owned)
	rows, err := frozen.Conn().QueryContext(t.Context(), `SELECT repeat('x', 1000) FROM generate_series(1, 200000)`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	require.True(t, rows.Next())
	require.NoError(t, rows.Err())

	other, err := pglease.Open(t.Context(), db, time.Minute)
	require.NoError(t, err)
	defer other.Abandon()
	start := time.Now()
	require.Eventually(t, func() bool {
		owned, err := other.Lock(t.Context(), 1)
		require.NoError(t, err)
		return owned
	}, 20*time.Second, 10*time.Millisecond, "the lock is freed")
	t.Logf("freed after %v", time.Since(start))
	require.Eventually(t, func() bool { return !frozen.Valid() }, 20*time.Second, time.Millisecond)
}
