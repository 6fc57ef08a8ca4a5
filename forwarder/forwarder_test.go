package forwarder_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

func TestForwardsWhatIsPending(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 6, nil)
	b.insert("users", 5000, 50)

	require.NoError(t, b.forwarder(nil).Drain(t.Context()))

	require.Equal(t, tally{records: 5000, distinct: 5000}, count(t, b.broker.Records(t, "users")))
	require.Zero(t, b.pending())
}

// Anybody may write created_at, and no value of it may keep its row, or another's, from being read.
func TestForwardsWhatIsOfNoAge(t *testing.T) { onBothTablesIfLong(t, forwardsWhatIsOfNoAge) }

func forwardsWhatIsOfNoAge(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 1, nil)
	b.insert("users", 6, 1)
	b.exec(`UPDATE event_outbox SET created_at = (ARRAY['infinity', '-infinity', '4713-01-01 BC', '294276-12-31', '1969-12-31', '2900-01-01'])[id]::timestamptz`)

	status, err := outbox.Status(t.Context(), b.db, "")
	require.NoError(t, err)
	require.EqualValues(t, 6, status.Pending)
	require.Zero(t, status.OldestPending)
	require.NoError(t, b.forwarder(nil).Drain(t.Context()))

	require.Equal(t, tally{records: 6, distinct: 6}, count(t, b.broker.Records(t, "users")))
}

func TestRunForwardsAndStopsCleanly(t *testing.T) { onBothTablesIfLong(t, runForwardsAndStopsCleanly) }

func runForwardsAndStopsCleanly(t *testing.T, b *testBundle) {
	b.roomFor(21_000)
	b.broker.CreateTopic(t, "users", 6, nil)
	stop := b.run(b.forwarder(nil))

	b.insert("users", 1000, 10)
	b.broker.WaitRecords(t, "users", 1000, patience)
	b.insertFrom("users", 1000, 20_000, 10)
	b.broker.WaitRecords(t, "users", 2000, patience)
	stop()
	pending := b.pending()
	t.Logf("%d rows were still pending at the stop", pending)
	require.NoError(t, b.forwarder(nil).Drain(t.Context()))

	require.Equal(t, tally{records: 21_000, distinct: 21_000}, count(t, b.broker.Records(t, "users")), "a clean stop makes no duplicate")
}
