package consumer_test

import (
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
)

// TestMetrics sends one message of each fate through the chain of a running router.
func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	b := newBench(t)
	b.pubsub = gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	config := quick(newOutlet())
	config.Metrics = registry
	b.router.AddPlugin(consumer.Plugin(config))
	consumer.Add(b.router, "fates", b.pubsub, "users", func(msg *message.Message) error {
		switch {
		case msg.UUID == "dead_letter":
			return consumer.Permanent(errBoom)
		case msg.UUID == "retried" && consumer.Attempt(msg.Context()) < 3:
			return errBoom
		case msg.UUID == "duplicate":
			consumer.Note(msg.Context(), consumer.Duplicate)
		}
		return nil
	})
	consumer.Add(b.router, "others", b.pubsub, "orders", consumer.Dispatch(consumer.SkipUnknown))
	b.run()
	for _, uuid := range []string{"handled", "dead_letter", "retried", "duplicate"} {
		b.publish("users", message.NewMessage(uuid, nil))
	}
	b.publish("orders", envelope("unknown", "{}"))
	require.NoError(t, b.router.Close())

	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP tailrace_consumer_messages_total Messages delivered to a handler, by how that ended: handled, duplicate, ignored, dropped, dead_letter, or kept to come again.
# TYPE tailrace_consumer_messages_total counter
tailrace_consumer_messages_total{handler="fates",outcome="dead_letter",topic="users"} 1
tailrace_consumer_messages_total{handler="fates",outcome="dropped",topic="users"} 0
tailrace_consumer_messages_total{handler="fates",outcome="duplicate",topic="users"} 1
tailrace_consumer_messages_total{handler="fates",outcome="handled",topic="users"} 2
tailrace_consumer_messages_total{handler="fates",outcome="ignored",topic="users"} 0
tailrace_consumer_messages_total{handler="fates",outcome="kept",topic="users"} 0
tailrace_consumer_messages_total{handler="others",outcome="dead_letter",topic="orders"} 0
tailrace_consumer_messages_total{handler="others",outcome="dropped",topic="orders"} 0
tailrace_consumer_messages_total{handler="others",outcome="duplicate",topic="orders"} 0
tailrace_consumer_messages_total{handler="others",outcome="handled",topic="orders"} 0
tailrace_consumer_messages_total{handler="others",outcome="ignored",topic="orders"} 1
tailrace_consumer_messages_total{handler="others",outcome="kept",topic="orders"} 0
# HELP tailrace_consumer_retries_total Attempts at messages after the first of a delivery.
# TYPE tailrace_consumer_retries_total counter
tailrace_consumer_retries_total{handler="fates",topic="users"} 2
tailrace_consumer_retries_total{handler="others",topic="orders"} 0
`), "tailrace_consumer_messages_total", "tailrace_consumer_retries_total"))
	lint, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, lint)
}

func TestMetricsOfMessagesThatComeAgain(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	counted, err := consumer.Metrics(registry)
	require.NoError(t, err)
	again, err := consumer.Metrics(registry)
	require.NoError(t, err, "two chains on one Registerer count together")
	for _, handler := range []message.HandlerFunc{
		counted(func(*message.Message) ([]*message.Message, error) { return nil, errBoom }),
		again(panicking("boom")), // which the router nacks
	} {
		func() {
			defer func() { _ = recover() }()
			_, _ = handler(message.NewMessage("1", nil))
		}()
	}
	families, err := registry.Gather()
	require.NoError(t, err)
	kept := 0.0
	for _, family := range families {
		if family.GetName() != "tailrace_consumer_messages_total" {
			continue
		}
		for _, one := range family.GetMetric() {
			for _, label := range one.GetLabel() {
				if label.GetName() == "outcome" && label.GetValue() == string(consumer.Kept) {
					kept += one.GetCounter().GetValue()
				}
			}
		}
	}
	require.InDelta(t, 2, kept, 0)
	_, err = consumer.Metrics(nil)
	require.ErrorContains(t, err, "pass prometheus.DefaultRegisterer")
}

// What is noted of an attempt that failed is not the message's outcome.
func TestNoteIsOfTheAttempt(t *testing.T) {
	t.Parallel()
	provider, recorder := recorded(t)
	config := quick(newOutlet())
	config.Tracer = provider
	_, err := chained(func(msg *message.Message) ([]*message.Message, error) {
		if consumer.Attempt(msg.Context()) == 1 {
			consumer.Note(msg.Context(), consumer.Duplicate)
			return nil, errBoom
		}
		return nil, nil
	}, mustChain(t, config)...)(fromKafka(t))
	require.NoError(t, err)
	require.Equal(t, "handled", attributesOf(last(recorder).Attributes())["tailrace.outcome"])
	consumer.Note(t.Context(), consumer.Dropped) // outside a chain: nothing
}
