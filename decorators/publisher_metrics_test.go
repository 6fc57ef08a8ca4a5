package decorators_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes"
)

func TestPublisherMetrics(t *testing.T) {
	t.Parallel()
	registry, k := prometheus.NewRegistry(), &keeper{}
	first := decorated(t, k, decorators.PublisherMetrics(registry))
	second := decorated(t, k, decorators.PublisherMetrics(registry))
	msg := message.NewMessage("m-1", nil)
	require.NoError(t, first.Publish("orders", msg, msg))
	require.NoError(t, second.Publish("orders", msg))
	for _, fail := range []error{errors.New("broken"), context.Canceled, fmt.Errorf("x: %w", envelopes.ErrInvalid), bus.ErrDuplicate} {
		k.fail = fail
		require.ErrorIs(t, second.Publish("orders", msg), fail)
	}
	k.fail = nil
	for i := range 250 {
		require.NoError(t, first.Publish(fmt.Sprint("topic-", i), msg))
	}
	refusing := decorated(t, k, decorators.PublisherValidation(decorators.PublisherValidationConfig{}), decorators.PublisherMetrics(registry))
	require.Error(t, refusing.Publish("orders", message.NewMessage("", nil)))

	families, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, families, 2)
	counts := map[string]int{}
	for _, metric := range families[0].GetMetric() {
		counts[metric.GetLabel()[1].GetValue()+" "+metric.GetLabel()[0].GetValue()] = int(metric.GetCounter().GetValue())
	}
	require.Equal(t, "tailrace_publisher_messages_total", families[0].GetName())
	require.Equal(t, 3, counts["orders ok"])
	require.Equal(t, 1, counts["orders error"])
	require.Equal(t, 1, counts["orders canceled"])
	require.Equal(t, 2, counts["orders invalid"])
	require.Equal(t, 1, counts["orders duplicate"])
	require.Equal(t, 51, counts["other ok"], "label values are bounded")
	require.Equal(t, "tailrace_publisher_publish_duration_seconds", families[1].GetName())
	require.Len(t, families[1].GetMetric(), 5+199+1)

	_, err = decorators.PublisherMetrics(taken{registry})(k)
	require.ErrorContains(t, err, "give a Registerer of its own")
}

type taken struct{ prometheus.Registerer }

func (taken) Register(prometheus.Collector) error { return errors.New("it is taken") }
