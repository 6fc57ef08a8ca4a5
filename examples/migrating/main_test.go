package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/connect"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/examples/internal/stack"
)

func start(t *testing.T) connect.Config {
	t.Helper()
	servers, err := stack.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, servers.Close()) })
	settings, err := connect.Load(servers.Environment())
	require.NoError(t, err)
	return settings
}

func startApp(t *testing.T) *app {
	t.Helper()
	a, err := open(t.Context(), start(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.close()) })
	return a
}

func TestWalk(t *testing.T) {
	t.Parallel()
	settings := start(t)
	var out strings.Builder
	require.NoError(t, walk(t.Context(), settings, &out))
	for _, row := range []string{
		`a  hand-written outbox, .* +60 +20 +40 +0 +0 +0`,
		`a  table migrated, .* +100 +100 +0 +0 +0 +0`,
		`b  INSERT and Bus .* +60 +60 +0 +0 +0 +0`,
		`c  directly .* +16 +20 +0 +0 +4 +0`,
		`c  through the Bus.* +32 +36 +0 +0 +4 +0`,
		`d  Watermill's forwarder, .* +20 +0 +20 +0 +0 +0`,
		`d  its daemon .* +20 +20 +0 +0 +0 +0`,
		`d  Bus.Publisher .* +40 +40 +0 +0 +0 +0`,
	} {
		require.Regexp(t, row+"\n", out.String())
	}

	connection, err := connect.Open(t.Context(), settings)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close()) }()
	var rows, sent, tried int
	require.NoError(t, connection.DB.QueryRowContext(t.Context(),
		`SELECT count(*), count(processed_at), sum(retry_count) FROM event_outbox`).Scan(&rows, &sent, &tried))
	require.Equal(t, [3]int{100 + 60 + 16 + 40, 100 + 60 + 16 + 40, 0}, [3]int{rows, sent, tried})
	require.NoError(t, outbox.Check(t.Context(), connection.DB, ""))
}

// TestCountSaysWhatIsWrong: an event that was committed, so it is believed, and is nowhere.
func TestCountSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	a := startApp(t)
	var committed ledger
	committed.add("user-1", "never-written")
	err := a.count(t.Context(), &strings.Builder{}, "nothing", a.names.orders, &committed, found{})
	require.EqualError(t, err, "nothing: {unsent:1 twice:0 phantoms:0 disordered:0}, where {unsent:0 twice:0 phantoms:0 disordered:0} was meant")
}

func TestCompare(t *testing.T) {
	t.Parallel()
	var committed ledger
	committed.add("a", "1", "2", "3")
	committed.add("b", "4")
	got := committed.compare([]record{{"a", "2"}, {"a", "1"}, {"a", "2"}, {"b", "9"}, {"b", "4"}})
	require.Equal(t, found{unsent: 1, twice: 1, phantoms: 1, disordered: 1}, got)
}

// TestDaemonBringsAgain: what Watermill's daemon had not noted as done is in the outbox once all the same.
func TestDaemonBringsAgain(t *testing.T) {
	t.Parallel()
	a := startApp(t)
	_, err := outbox.Migrate(t.Context(), a.db, outbox.MigrateConfig{})
	require.NoError(t, err)
	require.NoError(t, a.makeOldTable())
	var placed ledger
	require.NoError(t, a.placeOrders(t.Context(), &placed, forwarderPublisher))
	for range 2 {
		require.NoError(t, a.emptyOldTable(t.Context()))
		var rows int
		require.NoError(t, a.db.QueryRowContext(t.Context(), `SELECT count(*) FROM event_outbox`).Scan(&rows))
		require.Equal(t, 20, rows)
		_, err := a.db.ExecContext(t.Context(), `DELETE FROM watermill_offsets_events_to_forward`)
		require.NoError(t, err)
	}
}
