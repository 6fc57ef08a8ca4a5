package forwarder_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/forwarder"
)

// value is that of a gauge or counter, or the count of a histogram, over all its series; -1 when there is
// none.
func value(t testing.TB, from prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := from.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		sum := 0.0
		for _, one := range family.GetMetric() {
			sum += one.GetGauge().GetValue() + one.GetCounter().GetValue() + float64(one.GetHistogram().GetSampleCount())
		}
		return sum
	}
	return -1
}

// TestBacklogMetrics looks at the gauges while the broker is away and afterwards.
func TestBacklogMetrics(t *testing.T) { onBothTablesIfLong(t, backlogMetrics) }

func backlogMetrics(t *testing.T, b *testBundle) {
	b.broker.CreateTopic(t, "users", 3, nil)
	b.exec(`INSERT INTO event_outbox (event_id, topic, payload, created_at)
		SELECT 'old-' || i, 'users', 'p', now() - interval '1 hour' FROM generate_series(1, 20) i`)
	b.insert("users", 100, 10)
	registry := prometheus.NewRegistry()
	f := b.forwarder(func(c *forwarder.Config) {
		c.Registerer = registry
		c.Window, c.BatchSize = 50, 10
	})
	b.broker.Stop()
	stop := b.run(f)
	require.Eventually(t, func() bool { return value(t, registry, "tailrace_forwarder_pending_rows") == 120 }, patience, 10*time.Millisecond,
		"both what is on its way and what was not read yet")
	age := value(t, registry, "tailrace_forwarder_oldest_pending_age_seconds")
	require.InDelta(t, time.Hour.Seconds(), age, 300)
	require.Zero(t, value(t, registry, "tailrace_forwarder_forward_duration_seconds"))
	require.Eventually(t, func() bool {
		return value(t, registry, "tailrace_forwarder_oldest_pending_age_seconds") > age
	}, patience, 10*time.Millisecond, "it grows while the broker is away")

	b.broker.Restart(t)
	// Between two reads nothing may be on its way for a moment, too.
	require.Eventually(t, func() bool {
		return value(t, registry, "tailrace_forwarder_pending_rows") == 0 && value(t, registry, "tailrace_forwarder_oldest_pending_age_seconds") == 0 &&
			value(t, registry, "tailrace_forwarder_forward_duration_seconds") >= 120 && b.pending() == 0
	}, patience, 10*time.Millisecond)
	require.InDelta(t, 120, value(t, registry, "tailrace_forwarder_forward_duration_seconds"), 0, "each event once")
	batches := value(t, registry, "tailrace_forwarder_batch_events")
	require.Positive(t, batches)
	require.InDelta(t, batches, value(t, registry, "tailrace_forwarder_produce_duration_seconds"), 0)
	require.Zero(t, b.pending())
	stop()

	lint, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, lint)
}

// TestForwardDurationIsFromCreation: an event that waited an hour counts as an hour.
func TestForwardDurationIsFromCreation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.broker.CreateTopic(t, "users", 1, nil)
	b.exec(`INSERT INTO event_outbox (event_id, topic, payload, created_at) VALUES ('1', 'users', 'p', now() - interval '200 seconds')`)
	registry := prometheus.NewRegistry()
	require.NoError(t, b.forwarder(func(c *forwarder.Config) { c.Registerer = registry }).Drain(t.Context()))
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if strings.HasSuffix(family.GetName(), "forward_duration_seconds") {
			require.InDelta(t, 200, family.GetMetric()[0].GetHistogram().GetSampleSum(), 60)
			return
		}
	}
	t.Fatal("no histogram")
}
