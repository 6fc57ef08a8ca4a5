package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
)

// gathered is what the registry has: counters by their value, histograms by how often they observed.
func gathered(t testing.TB, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := make([]string, 0, 4)
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			value := metric.GetCounter().GetValue()
			if histogram := metric.GetHistogram(); histogram != nil {
				value = float64(histogram.GetSampleCount())
			}
			all[strings.TrimPrefix(family.GetName(), "tailrace_bus_")+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return all
}

func TestMetricsOfPublishing(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	counted := func(c *bus.Config) { c.Metrics = registry }
	b, r := direct(t, counted)
	ctx := context.Background()
	_, err := b.PublishDomain(ctx, userCreated("u-1"))
	require.NoError(t, err)
	_, err = b.PublishAudit(ctx, envelopes.Audit{})
	require.Error(t, err)
	r.fail = map[string]error{"marty.audit.events": errors.New("broken")}
	_, err = b.PublishAll(ctx, userCreated("u-1"), loggedIn(), nil)
	require.Error(t, err)
	_, err = b.PublishAll(ctx, userCreated("u-1"), loggedIn(), welcome("u-1"))
	require.Error(t, err)
	_, err = b.PublishCustom(ctx, envelopes.Custom{Topic: "a b"})
	require.Error(t, err)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = b.PublishDomain(cancelled, userCreated("u-1"))
	require.Error(t, err)
	require.Equal(t, map[string]float64{
		"events_total{kind=domain,outcome=ok,topic=marty.user-service.user.user_created,way=direct}":      2,
		"events_total{kind=domain,outcome=invalid,topic=marty.user-service.user.user_created,way=direct}": 1,
		"events_total{kind=domain,outcome=canceled,topic=,way=direct}":                                    1,
		"events_total{kind=audit,outcome=invalid,topic=marty.audit.events,way=direct}":                    2,
		"events_total{kind=audit,outcome=error,topic=marty.audit.events,way=direct}":                      1,
		"events_total{kind=notification,outcome=error,topic=marty.notification.events,way=direct}":        1,
		"events_total{kind=custom,outcome=invalid,topic=,way=direct}":                                     1,
		"events_total{kind=,outcome=invalid,topic=,way=direct}":                                           1,
		"publish_duration_seconds{outcome=ok,way=direct}":                                                 1,
		"publish_duration_seconds{outcome=invalid,way=direct}":                                            3,
		"publish_duration_seconds{outcome=error,way=direct}":                                              1,
		"publish_duration_seconds{outcome=canceled,way=direct}":                                           1,
		"publish_events{way=direct}":                                                                      6,
	}, gathered(t, registry))
}

func TestTwoBusesOnOneRegistererCountTogether(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	for i := range 2 {
		b, err := bus.New(bus.Config{Service: "s", Outbox: &recorder{refuse: outbox.ErrDuplicate}, Metrics: registry})
		require.NoError(t, err)
		// More topics than a label may have, half of them by each.
		for n := range 150 {
			_, err := b.PublishCustom(context.Background(), envelopes.Custom{Topic: fmt.Sprintf("topic-%d-%d", i, n), EventType: "x", Payload: 1})
			require.ErrorIs(t, err, bus.ErrDuplicate)
		}
	}
	all := gathered(t, registry)
	require.Equal(t, 300, int(all["publish_duration_seconds{outcome=duplicate,way=outbox}"]))
	require.Equal(t, 100, int(all["events_total{kind=custom,outcome=duplicate,topic=other,way=outbox}"]))
	require.Len(t, all, 2+200+1)
}

func TestAMetricThatIsTakenIsAMistake(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "tailrace_bus_events_total", Help: "Another's."}))
	_, err := bus.New(bus.Config{Service: "s", Publisher: &recorder{}, Metrics: registry})
	require.ErrorIs(t, err, bus.ErrConfig)
	require.ErrorContains(t, err, "Metrics: another metric has the name: give a Registerer of its own")
}

func TestMetricNamesFollowTheConventions(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	b, _ := direct(t, func(c *bus.Config) { c.Metrics = registry })
	_, err := b.PublishAudit(context.Background(), loggedIn())
	require.NoError(t, err)
	_, err = registry.Gather()
	require.NoError(t, err)
}
