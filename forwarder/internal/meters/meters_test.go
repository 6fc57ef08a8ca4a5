package meters_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/forwarder/internal/meters"
)

// TestRegisterAllOrNone: what could be registered before one could not is taken back.
func TestRegisterAllOrNone(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	set := func(outbox string) []prometheus.Collector {
		s := meters.New(outbox)
		s.Counter("a_total", "A.")
		s.CounterBy("topic", "b_total", "B.")
		s.Histogram("c_seconds", "C.", []float64{1})
		s.Gauge("d", "D.")
		return s.All()
	}
	taken := set("orders")[3:]
	require.NoError(t, meters.Register(registry, taken))
	all := set("orders")
	require.Error(t, meters.Register(registry, all))
	require.NoError(t, meters.Register(registry, set("users")), "another outbox has metrics of its own")
	meters.Unregister(registry, taken)
	require.NoError(t, meters.Register(registry, all))
	families, err := registry.Gather()
	require.NoError(t, err)
	var names []string
	for _, family := range families {
		names = append(names, family.GetName())
	}
	require.Equal(t, []string{"tailrace_forwarder_a_total", "tailrace_forwarder_c_seconds", "tailrace_forwarder_d"}, names, "a counter by a label shows with its first value")
}
