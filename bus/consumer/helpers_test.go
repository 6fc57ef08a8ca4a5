package consumer_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
)

// patience bounds every wait on a real condition.
const patience = 20 * time.Second

var errBoom = errors.New("boom")

// outlet is a publisher that records what it is given, or fails.
type outlet struct {
	mu      sync.Mutex
	letters []*message.Message
	topics  []string
	err     error
	tried   int
	closed  int
	arrived chan struct{}
}

func newOutlet() *outlet { return &outlet{arrived: make(chan struct{}, 1000)} }

func (o *outlet) Publish(topic string, messages ...*message.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tried++
	if o.err != nil {
		return o.err
	}
	for _, msg := range messages {
		if err := msg.Context().Err(); err != nil {
			return err
		}
		o.letters = append(o.letters, msg)
		o.topics = append(o.topics, topic)
		o.arrived <- struct{}{}
	}
	return nil
}

func (o *outlet) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed++
	return nil
}

func (o *outlet) failWith(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

func (o *outlet) all() []*message.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.letters)
}

func (o *outlet) attempts() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tried
}

// quick is a chain configuration whose retries take no noticeable time.
func quick(o *outlet) consumer.Config {
	return consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Publisher: o},
		Retry: consumer.RetryConfig{
			MaxRetries: 3, InitialInterval: time.Microsecond, MaxInterval: time.Millisecond,
		},
	}
}

// chained puts the middlewares around a handler as a router does.
func chained(handler message.HandlerFunc, chain ...message.HandlerMiddleware) message.HandlerFunc {
	for _, middleware := range slices.Backward(chain) {
		handler = middleware(handler)
	}
	return handler
}

func mustRetry(t testing.TB, config consumer.RetryConfig) message.HandlerMiddleware {
	t.Helper()
	retry, err := consumer.Retry(config)
	require.NoError(t, err)
	return retry
}

func mustDeadLetter(t testing.TB, config consumer.DeadLetterConfig) message.HandlerMiddleware {
	t.Helper()
	deadLetter, err := consumer.DeadLetter(config)
	require.NoError(t, err)
	return deadLetter
}

func mustChain(t testing.TB, config consumer.Config) []message.HandlerMiddleware {
	t.Helper()
	chain, err := consumer.Chain(config)
	require.NoError(t, err)
	return chain
}

// bench is a running router over an in-process Pub/Sub.
type bench struct {
	t      *testing.T
	router *message.Router
	pubsub *gochannel.GoChannel
	ended  chan error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	require.NoError(t, err)
	return &bench{
		t: t, router: router, ended: make(chan error, 1),
		pubsub: gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{}),
	}
}

// run starts the router and returns once it subscribed to everything.
func (b *bench) run() {
	b.t.Helper()
	go func() { b.ended <- b.router.Run(context.Background()) }()
	select {
	case <-b.router.Running():
	case err := <-b.ended:
		b.t.Fatal("router did not start: ", err)
	}
	b.t.Cleanup(func() { require.NoError(b.t, b.router.Close()) })
}

func (b *bench) publish(topic string, messages ...*message.Message) {
	b.t.Helper()
	require.NoError(b.t, b.pubsub.Publish(topic, messages...))
}

// await receives, or fails the test after patience.
func await[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("nothing arrived within ", patience)
		panic("unreachable")
	}
}
