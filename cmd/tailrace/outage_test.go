package main_test

import (
	"database/sql"
	"net/http"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// TestDatabaseAway: the server is shut down and killed under load.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	b, server := setupOwnServer(t)
	p := b.forward()
	p.waitReady(http.StatusOK, "owner")
	load := b.startLoad(4, 500)

	for _, end := range []func() error{server.Shutdown, server.Kill} {
		load.release(2000)
		b.waitArrived(b.arrived() + 200)
		require.NoError(t, end())
		p.waitReady(http.StatusServiceUnavailable, "the database is away")
		status, _ := p.get("/healthz")
		require.Equal(t, http.StatusOK, status, "a process that waits is alive")
		require.NoError(t, server.Restart(within(t, patience)))
		p.waitReady(http.StatusOK, "owner")
		load.release(2000)
	}
	load.finish()

	got := b.requireWhole()
	t.Logf("%d transactions failed while the server was away", load.faults.Load())
	require.Positive(t, got.sent)
	p.stop()
}

// TestDatabaseAwayAtStart: that is no mistake of the configuration, so the process waits.
func TestDatabaseAwayAtStart(t *testing.T) {
	t.Parallel()
	b, server := setupOwnServer(t)
	require.NoError(t, server.Shutdown())
	p := b.forward()
	p.waitReady(http.StatusServiceUnavailable, "the database is away")

	require.NoError(t, server.Restart(within(t, patience)))
	p.waitReady(http.StatusOK, "owner")
	p.stop()
}

// TestBrokerAway: Kafka is stopped under load, and is away when a process starts.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.forward("--drain-timeout", "300ms")
	load := b.startLoad(4, 500)
	load.release(2000)
	b.waitArrived(200)

	b.broker.Stop()
	load.release(2000)
	p.waitReady(http.StatusServiceUnavailable, "the broker is away")
	p.signal(syscall.SIGTERM)
	require.Equal(t, 1, p.wait(), "what is on its way cannot be finished, and the process says so")
	require.Contains(t, p.log.String(), "drain timeout")
	p = b.forward()
	p.waitReady(http.StatusServiceUnavailable, "the broker is away")
	b.broker.Restart(t)
	load.release(2000)
	load.finish()

	got := b.requireWhole()
	require.Equal(t, 6000, got.sent)
	p.waitReady(http.StatusOK, "owner")
	require.Zero(t, b.count(`retry_count > 0 OR error_message IS NOT NULL`), "an outage counts against no event")
	p.stop()
}

// setupOwnServer is setup on a server that the test may stop.
func setupOwnServer(t *testing.T) (*bundle, *bustest.PostgresServer) {
	t.Helper()
	server, err := bustest.StartPostgres(within(t, patience), bustest.PostgresConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	name, err := server.CreateDatabase(t.Context(), "outage")
	require.NoError(t, err)
	db, err := sql.Open("postgres", server.DSN(name))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return setupOn(t, db, server.DSN(name), outbox.MigrateConfig{}), server
}
