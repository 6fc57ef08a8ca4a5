package inbox_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/inbox"
)

// In each way of wiring that the documentation shows, an attempt has a transaction of its own: the second
// can write after the first was aborted.
func TestEachAttemptHasATransactionOfItsOwn(t *testing.T) {
	t.Parallel()
	config := consumer.Config{DeadLetter: consumer.DeadLetterConfig{Publisher: nothing{}}}
	for name, wire := range map[string]func(t *testing.T, router *message.Router, box *inbox.Inbox, sub message.Subscriber, handle message.NoPublishHandlerFunc){
		"Add under the plugin": func(_ *testing.T, router *message.Router, box *inbox.Inbox, sub message.Subscriber, handle message.NoPublishHandlerFunc) {
			router.AddPlugin(consumer.Plugin(config))
			box.Add(router, "mailer", sub, "users", handle)
		},
		"Middleware after the chain": func(t *testing.T, router *message.Router, box *inbox.Inbox, sub message.Subscriber, handle message.NoPublishHandlerFunc) {
			chain, err := consumer.Chain(config)
			require.NoError(t, err)
			router.AddMiddleware(chain...)
			consumer.Add(router, "mailer", sub, "users", handle).AddMiddleware(box.Middleware("mailer"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			pubsub := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
			router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
			require.NoError(t, err)
			handled := make(chan error, 1)
			wire(t, router, b.inbox(t, inbox.Config{}), pubsub, func(msg *message.Message) error {
				if consumer.Attempt(msg.Context()) == 1 {
					tx, _ := b.bus.SQLTxFrom(msg.Context())
					_, err := tx.ExecContext(msg.Context(), `SELECT 1/0`)
					return err
				}
				err := b.welcome(msg)
				handled <- err
				return err
			})
			ended := make(chan error, 1)
			go func() { ended <- router.Run(b.ctx) }()
			<-router.Running()
			require.NoError(t, pubsub.Publish("users", newMessage()))
			require.NoError(t, await(t, handled))
			require.Eventually(t, func() bool { return b.stays(t) == [3]int{1, 1, 1} }, patience, tick)
			require.NoError(t, router.Close())
			require.NoError(t, await(t, ended))
		})
	}
}
