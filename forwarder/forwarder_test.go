package forwarder_test

import (
	"testing"

	"github.com/stretchr/testify/require"
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

func TestRunForwardsAndStopsCleanly(t *testing.T) {
	t.Parallel()
	b := setup(t)
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
