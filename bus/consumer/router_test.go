package consumer_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/deadletter"
)

func TestPluginRetriesUntilSuccess(t *testing.T) {
	t.Parallel()
	b, out := newBench(t), newOutlet()
	b.router.AddPlugin(consumer.Plugin(quick(out)))
	done := make(chan int, 1)
	consumer.Add(b.router, "users", b.pubsub, "users", func(msg *message.Message) error {
		if attempt := consumer.Attempt(msg.Context()); attempt == 1 {
			panic("the first attempt panics")
		} else if attempt < 4 {
			return errBoom
		}
		done <- consumer.Attempt(msg.Context())
		return nil
	})
	b.run()
	b.publish("users", message.NewMessage("1", nil))
	require.Equal(t, 4, await(t, done))
	require.NoError(t, b.router.Close())
	require.Empty(t, out.all())
}

// A Pub/Sub in the process may hand the publishing handler's context on. Its attempts are not the next one's.
func TestAttemptsAreOfOneDelivery(t *testing.T) {
	t.Parallel()
	b, out := newBench(t), newOutlet()
	b.pubsub = gochannel.NewGoChannel(gochannel.Config{PreserveContext: true}, watermill.NopLogger{})
	b.router.AddPlugin(consumer.Plugin(quick(out)))
	attempts, seen := make(chan int, 10), make(chan struct{})
	consumer.Add(b.router, "first", b.pubsub, "first", func(msg *message.Message) error {
		if consumer.Attempt(msg.Context()) < 3 {
			return errBoom
		}
		next := message.NewMessageWithContext(msg.Context(), "2", nil)
		if err := b.pubsub.Publish("second", next); err != nil {
			return err
		}
		<-seen // the context goes on until the other is done
		return nil
	})
	consumer.Add(b.router, "second", b.pubsub, "second", func(msg *message.Message) error {
		attempt := consumer.Attempt(msg.Context())
		attempts <- attempt
		if attempt < 3 {
			return errBoom
		}
		close(seen)
		return nil
	})
	b.run()
	b.publish("first", message.NewMessage("1", nil))
	for want := 1; want <= 3; want++ {
		require.Equal(t, want, await(t, attempts))
	}
	require.NoError(t, b.router.Close())
	require.Empty(t, out.all())
}

func TestPluginSendsPoisonToTheDeadLettersOnce(t *testing.T) {
	t.Parallel()
	b, out := newBench(t), newOutlet()
	b.router.AddPlugin(consumer.Plugin(quick(out)))
	var runs atomic.Int32
	next := make(chan struct{}, 1)
	consumer.Add(b.router, "users", b.pubsub, "users", func(msg *message.Message) error {
		if msg.UUID == "next" {
			next <- struct{}{}
			return nil
		}
		runs.Add(1)
		return errBoom
	})
	b.run()
	b.publish("users", message.NewMessage("poison", []byte("p")))
	await(t, out.arrived)
	b.publish("users", message.NewMessage("next", nil))
	await(t, next)

	require.NoError(t, b.router.Close())
	require.Len(t, out.all(), 1)
	require.EqualValues(t, 4, runs.Load(), "one attempt and three retries, and then never again")
	letter := out.all()[0]
	require.Equal(t, "poison", letter.UUID)
	require.Equal(t, "users", letter.Metadata[deadletter.HeaderTopic])
	require.Equal(t, "users", letter.Metadata[deadletter.HeaderHandler])
	require.Equal(t, "4", letter.Metadata[deadletter.HeaderAttempts])
	require.Zero(t, out.closed, "the dead-letter publisher is the caller's to close")
}

func TestPluginKeepsAMessageWhoseDeadLetterCannotBePublished(t *testing.T) {
	t.Parallel()
	b, out := newBench(t), newOutlet()
	out.failWith(errors.New("broker away"))
	config := quick(out)
	config.Retry.MaxRetries = -1
	b.router.AddPlugin(consumer.Plugin(config))
	consumer.Add(b.router, "users", b.pubsub, "users", func(*message.Message) error { return errBoom })
	b.run()
	b.publish("users", message.NewMessage("poison", nil))
	require.Eventually(t, func() bool { return out.attempts() > 3 }, patience, time.Millisecond, "it comes back")
	require.Empty(t, out.all())
	out.failWith(nil)
	await(t, out.arrived)
	require.Equal(t, "poison", out.all()[0].UUID, "and is not lost")
}

func TestShutdownIsNotTheMessagesFault(t *testing.T) {
	t.Parallel()
	for name, atShutdown := range map[string]func(context.Context) error{
		"context error":          func(ctx context.Context) error { return ctx.Err() },
		"the driver's own error": func(context.Context) error { return errors.New("driver: bad connection") },
		"permanent error":        func(context.Context) error { return consumer.Permanent(errBoom) },
		"panic":                  func(context.Context) error { panic("connection gone") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, out := newBench(t), newOutlet()
			b.router.AddPlugin(consumer.Plugin(quick(out)))
			settled := make(chan error, 1)
			b.router.AddMiddleware(func(next message.HandlerFunc) message.HandlerFunc {
				return func(msg *message.Message) ([]*message.Message, error) {
					produced, err := next(msg)
					select {
					case settled <- err:
					default:
					}
					return produced, err
				}
			})
			running := make(chan struct{})
			var begun sync.Once
			var retries atomic.Int32
			consumer.Add(b.router, "users", b.pubsub, "users", func(msg *message.Message) error {
				if consumer.Attempt(msg.Context()) > 1 {
					retries.Add(1)
				}
				begun.Do(func() { close(running) }) // the Pub/Sub may deliver again before it closes
				<-msg.Context().Done()
				return atShutdown(msg.Context())
			})
			b.run()
			b.publish("users", message.NewMessage("1", nil))
			await(t, running)
			require.NoError(t, b.router.Close())

			require.ErrorIs(t, await(t, settled), context.Canceled, "nacked, and quietly")
			require.Zero(t, retries.Load())
			require.Zero(t, out.attempts(), "no dead letter was even tried")
			require.NoError(t, await(t, b.ended))
		})
	}
}

func TestSharedStaysOpenWhenAHandlerStops(t *testing.T) {
	t.Parallel()
	b, out := newBench(t), newOutlet()
	handler := b.router.AddHandler("copy", "in", b.pubsub, "out", consumer.Shared(out), message.PassthroughHandler)
	b.router.AddConsumerHandler("other", "in", b.pubsub, func(*message.Message) error { return nil })
	b.run()
	b.publish("in", message.NewMessage("1", nil))
	await(t, out.arrived)
	handler.Stop()
	await(t, handler.Stopped())
	require.Equal(t, []string{"out"}, out.topics)
	require.Zero(t, out.closed)
}
