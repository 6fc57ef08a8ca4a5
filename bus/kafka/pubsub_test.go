package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// quickGroups makes consumer groups settle in the time of a test.
func quickGroups(config *sarama.Config) {
	config.Consumer.Group.Heartbeat.Interval = 100 * time.Millisecond
	config.Consumer.Group.Rebalance.Timeout = 3 * time.Second
	config.Consumer.Group.Rebalance.Retry.Backoff = 100 * time.Millisecond
	config.Consumer.Retry.Backoff = 50 * time.Millisecond
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
}

func newSubscriber(t *testing.T, broker *bustest.Broker, group string) message.Subscriber {
	t.Helper()
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Config:          kafka.Config{Brokers: broker.Brokers()},
		ConsumerGroup:   group,
		NackResendSleep: 10 * time.Millisecond,
		Sarama:          quickGroups,
	}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, subscriber.Close()) })
	return subscriber
}

func newPublisher(t testing.TB, broker *bustest.Broker, change ...func(*kafka.PublisherConfig)) *kafka.Publisher {
	t.Helper()
	config := kafka.PublisherConfig{Sender: kafka.SenderConfig{
		Config: kafka.Config{Brokers: broker.Brokers()}, RetryBackoff: time.Millisecond, RetryBackoffMax: 50 * time.Millisecond,
	}}
	for _, f := range change {
		f(&config)
	}
	publisher, err := kafka.NewPublisher(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, publisher.Close()) })
	return publisher
}

// initializer makes the topics that Watermill's tests subscribe to.
type initializer struct {
	message.Subscriber
	broker     *bustest.Broker
	partitions int32
}

func (i initializer) SubscribeInitialize(topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	return kafka.CreateTopics(ctx, kafka.Config{Brokers: i.broker.Brokers()}, kafka.Topic{
		Name: topic, TopicShape: kafka.TopicShape{Partitions: i.partitions, ReplicationFactor: 1},
	})
}

func TestWatermillPubSub(t *testing.T) {
	for _, test := range []struct {
		name       string
		partitions int32
		ordered    bool
	}{
		{"one partition, in order", 1, true},
		{"many partitions", 8, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			broker := bustest.Kafka(t)
			withGroup := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
				return newPublisher(t, broker), initializer{newSubscriber(t, broker, group), broker, test.partitions}
			}
			tests.TestPubSub(t, tests.Features{
				ConsumerGroups:                      true,
				GuaranteedOrder:                     test.ordered,
				GuaranteedOrderWithSingleSubscriber: test.ordered,
				Persistent:                          true,
				ForceShort:                          true,
			}, func(t *testing.T) (message.Publisher, message.Subscriber) {
				return withGroup(t, "test-"+watermill.NewShortUUID())
			}, withGroup)
		})
	}
}

func TestMessageComesBack(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 4, nil)
	publisher := newPublisher(t, broker)
	before := time.Now().Truncate(time.Millisecond)

	keyed := message.NewMessage(watermill.NewUUID(), []byte(`{"n":1}`))
	keyed.Metadata = message.Metadata{"ce_type": "created", delivery.KeyMetadata: "order-1"}
	emptyKey := message.NewMessage(watermill.NewUUID(), []byte(`{"n":2}`))
	emptyKey.Metadata = message.Metadata{delivery.KeyMetadata: ""}
	keyless := message.NewMessage(watermill.NewUUID(), []byte(`{"n":3}`))
	require.NoError(t, publisher.Publish("orders", keyed, emptyKey, keyless))
	delete(emptyKey.Metadata, delivery.KeyMetadata) // it is none

	// The group is new, the records are older than it.
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	messages, err := newSubscriber(t, broker, "group").Subscribe(ctx, "orders")
	require.NoError(t, err)
	got := map[string]*message.Message{}
	for range 3 {
		select {
		case msg := <-messages:
			require.NotNil(t, msg)
			got[msg.UUID] = msg
			origin, ok := delivery.OriginFrom(msg.Context())
			require.True(t, ok)
			require.Equal(t, "orders", origin.Topic)
			require.False(t, origin.Time.Before(before), "the record's time is that of sending")
			if key, has := msg.Metadata[delivery.KeyMetadata]; has {
				require.Equal(t, key, string(origin.Key))
				require.Equal(t, kafka.PartitionFor([]byte(key), 4), origin.Partition)
			} else {
				require.Nil(t, origin.Key)
			}
			msg.Ack()
		case <-ctx.Done():
			t.Fatal("no message")
		}
	}
	for _, want := range []*message.Message{keyed, emptyKey, keyless} {
		require.Contains(t, got, want.UUID)
		require.Equal(t, want.Payload, got[want.UUID].Payload)
		require.Equal(t, want.Metadata, got[want.UUID].Metadata)
	}
}

func TestSubscriberClosesWithAMessageNobodyTakes(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	require.NoError(t, newPublisher(t, broker).Publish("orders", message.NewMessage("1", nil), message.NewMessage("2", nil)))
	subscriber := newSubscriber(t, broker, "group")
	messages, err := subscriber.Subscribe(t.Context(), "orders")
	require.NoError(t, err)
	(<-messages).Ack() // the second is on its way, with nobody to take it
	require.NoError(t, subscriber.Close())
	_, open := <-messages
	require.False(t, open)
}
