package kafka_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// forgetful has the sender forget a topic after 50 ms.
func forgetful(c *kafka.SenderConfig) { c.MetadataRefresh = 10 * time.Millisecond }

// TestForgottenTopicIsUsedAgain: its sequences start over, in a higher epoch, so that the broker does not take what
// is sent then for what it had before.
func TestForgottenTopicIsUsedAgain(t *testing.T) {
	t.Parallel()
	const n, rounds = 20, 3
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	var seen batches
	if broker.Faulty() {
		seen.watch(broker, func(int, bustest.Batch) bustest.Action { return bustest.Pass })
	}
	sink := newSink(t)
	sender := newSender(t, broker.Brokers(), forgetful)
	stream := sender.Stream(sink.config())
	for round := range rounds {
		stream.Send(keyed("orders", n*round, n, 3))
		sink.wait(n * (round + 1))
		require.Eventually(t, func() bool { return len(sender.Topics()) == 0 }, soon, time.Millisecond)
	}
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: n * rounds}, sink.faults())
	requireSequence(t, broker.WaitRecords(t, "orders", n*rounds, soon), n*rounds, 1)
	if !broker.Faulty() {
		return
	}
	var epochs []int16
	for _, batch := range seen.seen {
		require.Equal(t, seen.seen[0].ProducerID, batch.ProducerID)
		require.Zero(t, batch.FirstSequence)
		epochs = append(epochs, batch.ProducerEpoch-seen.seen[0].ProducerEpoch)
	}
	require.Equal(t, []int16{0, 1, 2}, slices.Compact(epochs))
}

// TestTopicOfAGivenUpBatchIsKept, since only its lane knows what may still arrive.
func TestTopicOfAGivenUpBatchIsKept(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	broker.CreateTopic(t, "users", 1, nil)
	broker.FailProduce(func(topic string, _ int32) bustest.Action {
		if topic == "orders" {
			return bustest.HangBefore
		}
		return bustest.Pass
	})
	sender := newSender(t, broker.Brokers(), forgetful, func(c *kafka.SenderConfig) { c.Config.RequestTimeout = 300 * time.Millisecond })
	giveUp(t, broker, sender)

	var seen batches
	seen.watch(broker, func(int, bustest.Batch) bustest.Action { return bustest.Pass })
	next := newSink(t)
	other := sender.Stream(next.config())
	other.Send(keyed("users", 0, 1, 1))
	next.wait(1)
	require.Eventually(t, func() bool { return slices.Equal(sender.Topics(), []string{"orders"}) }, soon, time.Millisecond)
	other.Send(keyed("orders", 1, 1, 1))
	next.wait(2)
	require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 2}, next.faults())
	require.Equal(t, int16(1), seen.seen[1].ProducerEpoch-seen.seen[0].ProducerEpoch)
	require.Eventually(t, func() bool { return len(sender.Topics()) == 0 }, soon, time.Millisecond, "what was given up cannot arrive any more")
}
