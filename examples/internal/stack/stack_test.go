package stack_test

import (
	"database/sql"
	"testing"

	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/examples/internal/stack"
)

// TestOnSomebodysServers: an example makes a database and topics of its own there, and drops the database.
func TestOnSomebodysServers(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	t.Setenv("KAFKA_BROKERS", "")
	theirs, err := stack.Start(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, theirs.Close()) }()
	t.Setenv("DATABASE_URL", theirs.Environment()["DATABASE_URL"])
	t.Setenv("KAFKA_BROKERS", theirs.Environment()["KAFKA_BROKERS"])

	ours, err := stack.Start(t.Context())
	require.NoError(t, err)
	environ := ours.Environment()
	require.Equal(t, theirs.Environment()["KAFKA_BROKERS"], environ["KAFKA_BROKERS"])
	require.Regexp(t, "^example-[a-z0-9]{8}$", environ["EVENT_TOPIC_PREFIX"])
	require.Equal(t, 2, databases(t, theirs))
	require.NoError(t, ours.Close())
	require.Equal(t, 1, databases(t, theirs))
}

func databases(t *testing.T, servers *stack.Servers) (n int) {
	t.Helper()
	db, err := sql.Open("postgres", servers.Environment()["DATABASE_URL"])
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_database WHERE datname LIKE 'tailrace_example%'`).Scan(&n))
	return n
}
