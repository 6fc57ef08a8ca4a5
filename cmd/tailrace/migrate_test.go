package main_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// TestMigrateMakesTheInboxWhenAsked, in the usual place or where it is told.
func TestMigrateMakesTheInboxWhenAsked(t *testing.T) {
	t.Parallel()
	db, dsn := bustest.Postgres(t)
	env := []string{"DATABASE_URL=" + dsn}
	code, output := run(t, env, "migrate")
	require.Zero(t, code, output)
	require.ErrorIs(t, inbox.Check(t.Context(), db, ""), inbox.ErrNoTable)

	code, output = run(t, env, "migrate", "--inbox")
	require.Zero(t, code, output)
	require.Contains(t, output, `"public"."event_outbox" is up to date`)
	require.Contains(t, output, `created "public"."event_inbox", version 1`)
	require.NoError(t, inbox.Check(t.Context(), db, ""))
	require.NoError(t, outbox.Check(t.Context(), db, ""))

	_, err := db.ExecContext(t.Context(), `CREATE SCHEMA app`)
	require.NoError(t, err)
	code, output = run(t, env, "migrate", "--table", "app.events", "--inbox=app.seen")
	require.Zero(t, code, output)
	require.NoError(t, inbox.Check(t.Context(), db, "app.seen"))

	code, output = run(t, env, "migrate", "--inbox=a.b.c", "--lock-timeout", "0")
	require.Equal(t, 2, code, output)
	require.Contains(t, output, "--inbox")
	require.Contains(t, output, "--lock-timeout")
	code, output = run(t, env, "migrate", "--inbox=event_outbox")
	require.Equal(t, 1, code, output)
	require.Contains(t, output, "name another table")
}

// TestPrintHasTheInboxToo, and running what it prints makes both tables.
func TestPrintHasTheInboxToo(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t)
	db.SetMaxOpenConns(1)
	code, output := run(t, nil, "migrate", "--print", "--inbox")
	require.Zero(t, code, output)
	for statement := range strings.SplitSeq(output, "\n\n") {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	require.NoError(t, inbox.Check(t.Context(), db, ""))
	require.NoError(t, outbox.Check(t.Context(), db, ""))
	_, output = run(t, nil, "migrate", "--print")
	require.NotContains(t, output, "event_inbox")
	_, output = run(t, nil, "migrate", "--help")
	require.Contains(t, output, "--inbox name[=event_inbox]")
}
