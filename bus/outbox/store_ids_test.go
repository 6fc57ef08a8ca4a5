package outbox_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

// Whatever mixture of ids is settled, close together, far apart or both, those rows are and no others.
func TestSettleTouchesTheGivenRowsOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	store, err := outbox.NewStore(b.db, "")
	require.NoError(t, err)
	const rows = 6000
	b.exec(t, `INSERT INTO event_outbox (id, event_id, topic, payload)
		SELECT CASE WHEN i <= 5000 THEN i WHEN i <= 5990 THEN i * 100 ELSE 9223372036854775807 - i END, i::text, 't', 'x'
		FROM generate_series(1, $1) i`, rows)
	all := ids(t, b, "true")
	require.Len(t, all, rows)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, seed))
	t.Logf("seed %d", seed)
	for name, write := range map[string]func(context.Context, []int64) error{"settle": store.Settle, "remove": store.Remove} {
		b.exec(t, `UPDATE event_outbox SET processed_at = NULL`)
		left := ids(t, b, "true")
		for round, share := range []float64{0.001, 0.02, 0.15, 0.3, 0.5, 0.9, 1} {
			var chosen []int64
			if round == 2 { // all in one place
				chosen = slices.Clone(left[100:400])
			}
			left = slices.DeleteFunc(left, func(id int64) bool {
				if round == 2 {
					_, found := slices.BinarySearch(chosen, id)
					return found
				}
				if random.Float64() >= share {
					return false
				}
				chosen = append(chosen, id)
				return true
			})
			given := slices.Clone(chosen)
			random.Shuffle(len(given), func(i, j int) { given[i], given[j] = given[j], given[i] })
			asGiven := slices.Clone(given)
			require.NoError(t, write(b.ctx, given))
			require.Equal(t, asGiven, given, "the caller's ids stay as they are")
			require.Equal(t, left, ids(t, b, "processed_at IS NULL"), "%s, round %d", name, round)
		}
		require.Empty(t, left)
		require.NoError(t, write(b.ctx, nil))
		if name == "remove" {
			b.exec(t, `INSERT INTO event_outbox (id, event_id, topic, payload) SELECT i, i::text, 't', 'x' FROM generate_series(1, $1) i`, rows)
		}
	}
}

func ids(t testing.TB, b bundle, where string) []int64 {
	t.Helper()
	all := []int64{}
	rows, err := b.db.QueryContext(b.ctx, `SELECT id FROM event_outbox WHERE `+where+` ORDER BY id`)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		var id int64
		require.NoError(t, rows.Scan(&id))
		all = append(all, id)
	}
	require.NoError(t, rows.Err())
	return all
}
