package bustest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

func TestPostgresGivesEachTestItsOwnDatabase(t *testing.T) {
	t.Parallel()
	first, firstDSN := bustest.Postgres(t)
	second, secondDSN := bustest.Postgres(t)
	require.NotEqual(t, firstDSN, secondDSN)

	_, err := first.Exec("CREATE TABLE only_here (id int)")
	require.NoError(t, err)
	var found bool
	require.NoError(t, second.QueryRow("SELECT to_regclass('only_here') IS NOT NULL").Scan(&found))
	require.False(t, found)
}
