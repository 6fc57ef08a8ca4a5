package watermillsql

import (
	"strings"
	"testing"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/internal/pglease"
)

// TestReadsFollowTheIndex: a read costs what it returns, whatever lies behind it; Watermill's sorts all of that.
func TestReadsFollowTheIndex(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t)
	schema := wsql.DefaultPostgreSQLSchema{}
	for _, q := range schema.SchemaInitializingQueries("x") {
		_, err := db.Exec(q.Query)
		require.NoError(t, err)
	}
	_, err := db.Exec(`INSERT INTO watermill_x (uuid, payload, transaction_id) SELECT 'u', '{}', (i / 3)::text::xid8 FROM generate_series(1, 20000) i`)
	require.NoError(t, err)
	_, err = db.Exec(`ANALYZE watermill_x`)
	require.NoError(t, err)
	lease, err := pglease.Open(t.Context(), db, 1<<40)
	require.NoError(t, err)
	defer lease.Abandon()
	owned, err := lease.Lock(t.Context(), 1)
	require.NoError(t, err)
	require.True(t, owned)
	config := Config{DB: db, Topic: "x"}
	tables := tablesOf(&config)
	for query, args := range map[string][]any{
		tables.readQuery():    {"17", 40, "0", 2000},
		tables.gateQuery():    {"17", 40},
		tables.backlogQuery(): {"17", 40, backlogLimit},
	} {
		plan := explain(t, lease, query, args...)
		require.Contains(t, plan, "using watermill_x_pkey on watermill_x", query)
		require.Regexp(t, `Index Cond: \(\(?ROW\(transaction_id, "offset"\) > ROW\(`, plan)
		if query == tables.readQuery() {
			require.NotContains(t, plan, "Sort")
		}
	}
}

func explain(t *testing.T, lease *pglease.Lease, query string, args ...any) string {
	t.Helper()
	rows, err := lease.Conn().QueryContext(t.Context(), `EXPLAIN `+query, args...)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var plan strings.Builder
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		plan.WriteString(line + "\n")
	}
	require.NoError(t, rows.Err())
	return plan.String()
}
