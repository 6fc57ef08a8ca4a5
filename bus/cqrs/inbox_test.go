package cqrs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/inbox"
	"github.com/tailrace-go/tailrace/bus/outbox"
)

// An event that comes twice, and whose handling fails once, has its effects once: what the handler publishes
// on the EventBus is in the transaction of the inbox's mark.
func TestWithAnInbox(t *testing.T) {
	t.Parallel()
	db, _ := bustest.Postgres(t)
	_, err := outbox.Migrate(t.Context(), db, outbox.MigrateConfig{})
	require.NoError(t, err)
	_, err = inbox.Migrate(t.Context(), db, inbox.MigrateConfig{})
	require.NoError(t, err)
	b, err := bus.New(bus.Config{Service: "user-service", Topics: naming, DB: db})
	require.NoError(t, err)
	box, err := inbox.New(inbox.Config{Bus: b})
	require.NoError(t, err)
	m, events := marshaler(t, b, registry())

	channel := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	router := newRouter(t)
	router.AddPlugin(consumer.Plugin(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: bustest.NewRecorder()},
		Retry:      consumer.RetryConfig{InitialInterval: time.Millisecond},
	}))
	config := m.EventProcessorConfig(func(wmcqrs.EventProcessorSubscriberConstructorParams) (message.Subscriber, error) {
		return channel, nil
	})
	config.OnHandle = func(params wmcqrs.EventProcessorOnHandleParams) error {
		return box.Once(params.Handler.HandlerName(), func(msg *message.Message) error {
			return params.Handler.Handle(msg.Context(), params.Event)
		})(params.Message)
	}
	handled := make(chan string, 10)
	handle(t, router, config, "ship", func(ctx context.Context, user *User) error {
		if err := events.Publish(ctx, Shipped{Order: user.Email}); err != nil {
			return err
		}
		if consumer.Attempt(ctx) == 1 {
			return errors.New("not yet")
		}
		handled <- user.Email
		return nil
	})
	run(t, router)

	msg, err := m.Marshal(User{ID: "1", Email: "order-9"})
	require.NoError(t, err)
	for range 2 { // which returns when the message is acked
		require.NoError(t, channel.Publish("marty.user-service.user.user_created", msg.Copy()))
	}
	require.Equal(t, "order-9", await(t, handled))
	require.Empty(t, handled)
	var orders int
	require.NoError(t, db.QueryRow(`SELECT count(*) FROM event_outbox`).Scan(&orders))
	require.Equal(t, 1, orders)
}
