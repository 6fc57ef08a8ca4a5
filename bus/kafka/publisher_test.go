package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func messages(key string, n int) []*message.Message {
	out := make([]*message.Message, n)
	for i := range out {
		out[i] = message.NewMessage(fmt.Sprintf("%s-%d", key, i), fmt.Appendf(nil, "%08d", i))
		if key != "" {
			out[i].Metadata.Set(delivery.KeyMetadata, key)
		}
	}
	return out
}

func TestPublishWaitsForTheBroker(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 3, nil)
	publisher := newPublisher(t, broker)
	require.NoError(t, publisher.Publish("orders"))
	require.NoError(t, publisher.Publish("orders", messages("a", 10)...))
	require.Len(t, broker.Records(t, "orders"), 10)

	var calls sync.WaitGroup
	for i := range 50 {
		calls.Go(func() {
			if err := publisher.Publish("orders", messages(fmt.Sprint("k", i), 5)...); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	require.Len(t, broker.Records(t, "orders"), 260)
}

func TestPublishSaysWhatBecameOfEachMessage(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "small", 1, map[string]string{"max.message.bytes": "2000"})
	publisher := newPublisher(t, broker)
	batch := append(messages("a", 4), messages("b", 2)...)
	batch[1].Payload = make([]byte, 5_000)
	err := publisher.Publish("small", batch...)

	var failed *kafka.PublishError
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, sarama.ErrMessageSizeTooLarge)
	require.False(t, failed.Unknown())
	require.Equal(t, 6, failed.Messages)
	faults := map[int]delivery.Fault{}
	for _, failure := range failed.Failures {
		require.Equal(t, batch[failure.Index].UUID, failure.UUID)
		faults[failure.Index] = failure.Fault
	}
	require.Equal(t, map[int]delivery.Fault{1: delivery.Refused, 2: delivery.Withheld, 3: delivery.Withheld}, faults)
	require.Equal(t, "record", failed.ErrorType(), "as metrics and spans say it")
	require.Contains(t, err.Error(), "a-1 was not delivered (record)")
	require.Len(t, broker.Records(t, "small"), 3)

	err = publisher.Publish("nowhere", messages("a", 1)...)
	require.ErrorAs(t, err, &failed)
	require.Equal(t, delivery.Topic, failed.Failures[0].Fault)
	require.ErrorIs(t, err, sarama.ErrUnknownTopicOrPartition)
}

func TestPublishGivesUp(t *testing.T) {
	t.Parallel()
	short := func(c *kafka.PublisherConfig) {
		c.Timeout = 100 * time.Millisecond
		c.Sender.Config.RequestTimeout = time.Second
	}
	t.Run("timeout, nothing was sent", func(t *testing.T) {
		t.Parallel()
		broker := bustest.Kafka(t)
		broker.CreateTopic(t, "orders", 1, nil)
		broker.Stop()
		publisher := newPublisher(t, broker, short)
		err := publisher.Publish("orders", messages("a", 3)...)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var failed *kafka.PublishError
		require.ErrorAs(t, err, &failed)
		require.False(t, failed.Unknown(), "%v", err)
		require.Contains(t, err.Error(), "connection refused", "it says why the broker is away")

		// Nothing of it is sent later.
		broker.Restart(t)
		require.Eventually(t, func() bool { return publisher.Publish("orders", messages("b", 1)...) == nil }, soon, time.Millisecond)
		for _, record := range broker.Records(t, "orders") {
			require.Equal(t, "b", string(record.Key))
		}
	})
	t.Run("timeout, outcome unknown", func(t *testing.T) {
		t.Parallel()
		broker := bustest.Kafka(t)
		broker.CreateTopic(t, "orders", 1, nil)
		broker.FailProduce(func(string, int32) bustest.Action { return bustest.HangAfter })
		err := newPublisher(t, broker, short).Publish("orders", messages("a", 1)...)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var failed *kafka.PublishError
		require.ErrorAs(t, err, &failed)
		require.True(t, failed.Unknown())
		require.Contains(t, err.Error(), "may not have been delivered")
		broker.FailProduce(nil)
	})
	t.Run("a message's context", func(t *testing.T) {
		t.Parallel()
		broker := bustest.Kafka(t)
		broker.Stop()
		publisher := newPublisher(t, broker)
		ctx, cancel := context.WithCancelCause(t.Context())
		batch := messages("a", 2)
		batch[1].SetContext(ctx)
		reason := errors.New("the user left")
		time.AfterFunc(20*time.Millisecond, func() { cancel(reason) })
		err := publisher.Publish("orders", batch...)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, reason)
	})
	t.Run("no room", func(t *testing.T) {
		t.Parallel()
		broker := bustest.Kafka(t)
		broker.CreateTopic(t, "orders", 1, nil)
		broker.FailProduce(func(string, int32) bustest.Action { return bustest.HangBefore })
		publisher := newPublisher(t, broker, short, func(c *kafka.PublisherConfig) { c.Buffer = 1 })
		require.Error(t, publisher.Publish("orders", messages("a", 1)...))
		err := publisher.Publish("orders", messages("b", 1)...)
		var failed *kafka.PublishError
		require.ErrorAs(t, err, &failed)
		require.False(t, failed.Unknown(), "what waited for room was not sent")
		broker.FailProduce(nil)
		require.Eventually(t, func() bool { return publisher.Publish("orders", messages("c", 1)...) == nil }, soon, time.Millisecond)
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		publisher := newPublisher(t, bustest.Kafka(t))
		require.NoError(t, publisher.Close())
		require.ErrorIs(t, publisher.Publish("orders", messages("a", 1)...), kafka.ErrClosed)
	})
}
