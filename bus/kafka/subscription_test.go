package kafka_test

import (
	"net"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

func receive(t *testing.T, from <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg := <-from:
		require.NotNil(t, msg)
		return msg
	case <-t.Context().Done():
		t.Fatal("no message")
		return nil
	}
}

// TestMessagesContextEndsWithTheSession: what the first member holds is taken away when a second one
// joins, and comes again, whatever the first one says about it afterwards.
func TestMessagesContextEndsWithTheSession(t *testing.T) {
	t.Parallel()
	for name, settle := range map[string]func(*message.Message) bool{
		"nacked too late": (*message.Message).Nack,
		"acked too late":  (*message.Message).Ack,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := bustest.Kafka(t)
			broker.CreateTopic(t, "orders", 1, nil)
			require.NoError(t, newPublisher(t, broker).Publish("orders", message.NewMessage("1", nil), message.NewMessage("2", nil)))
			first, err := newSubscriber(t, broker, "group").Subscribe(t.Context(), "orders")
			require.NoError(t, err)
			msg := receive(t, first)
			origin, ok := delivery.OriginFrom(msg.Context())
			require.True(t, ok)
			require.Positive(t, origin.RebalanceTimeout)

			second, err := newSubscriber(t, broker, "group").Subscribe(t.Context(), "orders")
			require.NoError(t, err)
			<-msg.Context().Done()
			settle(msg)

			for _, want := range []string{"1", "2"} { // from either: who gets the partition is the group's choice
				select {
				case msg = <-first:
				case msg = <-second:
				}
				require.Equal(t, want, msg.UUID)
				require.NoError(t, msg.Context().Err())
				require.True(t, msg.Ack())
			}
		})
	}
}

// TestNackedMessageKeepsItsContext: each copy of it has the same, and an ack ends it.
func TestNackedMessageKeepsItsContext(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	require.NoError(t, newPublisher(t, broker).Publish("orders", message.NewMessage("1", nil), message.NewMessage("2", nil)))
	messages, err := newSubscriber(t, broker, "group").Subscribe(t.Context(), "orders")
	require.NoError(t, err)
	msg := receive(t, messages)
	ctx := msg.Context()
	for range 3 {
		msg.Nack()
		msg = receive(t, messages)
		require.Equal(t, "1", msg.UUID)
		require.Equal(t, ctx, msg.Context())
		require.NoError(t, ctx.Err())
	}
	msg.Ack()
	msg = receive(t, messages)
	require.Equal(t, "2", msg.UUID)
	<-ctx.Done()
	require.NoError(t, msg.Context().Err())
}

// TestSubscriberClosesWhileABrokerIsSilent: a subscription that still waits for its broker does not hold Close.
func TestSubscriberClosesWhileABrokerIsSilent(t *testing.T) {
	t.Parallel()
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{Config: kafka.Config{Brokers: []string{silent.Addr().String()}}, ConsumerGroup: "g"}, nil)
	require.NoError(t, err)
	subscribed := make(chan error, 1)
	go func() {
		_, err := subscriber.Subscribe(t.Context(), "orders")
		subscribed <- err
	}()
	conn, err := silent.Accept()
	require.NoError(t, err)
	closed := make(chan error, 1)
	go func() { closed <- subscriber.Close() }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(5 * time.Second):
		t.Error("Close waits for the broker")
	}
	require.NoError(t, silent.Close())
	require.NoError(t, conn.Close())
	require.Error(t, <-subscribed)
	require.NoError(t, subscriber.Close())
	_, err = subscriber.Subscribe(t.Context(), "orders")
	require.ErrorContains(t, err, "closed")
}

// TestSubscriberWithoutAGroup has no rebalance to stay ahead of, and delivers a nacked message again too.
func TestSubscriberWithoutAGroup(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, nil)
	require.NoError(t, newPublisher(t, broker).Publish("orders", message.NewMessage("1", nil)))
	subscriber := newSubscriber(t, broker, "")
	messages, err := subscriber.Subscribe(t.Context(), "orders")
	require.NoError(t, err)
	msg := receive(t, messages)
	origin, _ := delivery.OriginFrom(msg.Context())
	require.Zero(t, origin.RebalanceTimeout)
	msg.Nack()
	receive(t, messages).Ack()
	require.NoError(t, subscriber.Close())
	_, err = subscriber.Subscribe(t.Context(), "orders")
	require.ErrorContains(t, err, "closed")
}
