package decorators_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes"
)

// keeper is a publisher that keeps what it was given.
type keeper struct {
	topics []string
	calls  [][]*message.Message
	closed int
	fail   error
}

func (k *keeper) Publish(topic string, msgs ...*message.Message) error {
	k.topics, k.calls = append(k.topics, topic), append(k.calls, msgs)
	return k.fail
}

func (k *keeper) Close() error { k.closed++; return k.fail }

func decorated(t testing.TB, next message.Publisher, all ...message.PublisherDecorator) message.Publisher {
	t.Helper()
	for _, decorator := range all {
		var err error
		next, err = decorator(next)
		require.NoError(t, err)
	}
	return next
}

// everyPublisher is one of each, by name.
func everyPublisher() map[string]message.PublisherDecorator {
	return map[string]message.PublisherDecorator{
		"correlation": decorators.PublisherCorrelation(),
		"tracing":     decorators.PublisherTracing(decorators.PublisherTracingConfig{Tracer: sdk.NewTracerProvider()}),
		"metrics":     decorators.PublisherMetrics(prometheus.NewRegistry()),
		"validation":  decorators.PublisherValidation(decorators.PublisherValidationConfig{}),
		"redaction":   decorators.PublisherRedaction(decorators.PublisherRedactionConfig{}),
	}
}

// inOrder are the decorators, the innermost first, in the order of their names.
func inOrder(by map[string]message.PublisherDecorator) []message.PublisherDecorator {
	all := make([]message.PublisherDecorator, 0, len(by))
	for _, name := range slices.Sorted(maps.Keys(by)) {
		all = append(all, by[name])
	}
	return all
}

func secretMessage() *message.Message {
	msg := message.NewMessage("m-1", []byte(`{"password":"hunter2","user":"ada"}`))
	msg.Metadata = message.Metadata{"authorization": "Bearer hunter2", delivery.KeyMetadata: "k"}
	return msg
}

func TestADecoratedPublisher(t *testing.T) {
	t.Parallel()
	for name, decorator := range everyPublisher() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("leaves the caller's messages alone", func(t *testing.T) {
				t.Parallel()
				k := &keeper{}
				msg := secretMessage()
				ctx, metadata, payload := msg.Context(), maps.Clone(msg.Metadata), string(msg.Payload)
				msgs := []*message.Message{msg, secretMessage()}
				require.NoError(t, decorated(t, k, decorator).Publish("orders", msgs...))
				require.Equal(t, []string{"orders"}, k.topics, "several are one call")
				require.Len(t, k.calls[0], 2)
				require.Equal(t, "m-1", k.calls[0][0].UUID)
				require.Equal(t, "k", k.calls[0][0].Metadata[delivery.KeyMetadata])
				require.Same(t, msg, msgs[0])
				require.Equal(t, metadata, msg.Metadata)
				require.Equal(t, payload, string(msg.Payload))
				require.Equal(t, ctx, msg.Context())
			})
			t.Run("returns the publisher's error as it is", func(t *testing.T) {
				t.Parallel()
				k := &keeper{fail: errors.New("broken")}
				p := decorated(t, k, decorator)
				require.Equal(t, k.fail, p.Publish("orders", secretMessage()))
				require.Equal(t, k.fail, p.Close())
				require.Equal(t, k.fail, p.Close())
				require.Equal(t, 1, k.closed, "it is closed once")
			})
			t.Run("has nothing to do with no messages", func(t *testing.T) {
				t.Parallel()
				k := &keeper{}
				require.NoError(t, decorated(t, k, decorator).Publish("orders"))
				require.Empty(t, k.calls[0])
			})
			t.Run("does not fall over a nil message", func(t *testing.T) {
				t.Parallel()
				k := &keeper{}
				err := decorated(t, k, decorator).Publish("orders", nil)
				require.Equal(t, name == "validation", err != nil)
			})
			t.Run("needs a publisher", func(t *testing.T) {
				t.Parallel()
				_, err := decorator(nil)
				require.ErrorContains(t, err, "there is no publisher to decorate")
			})
		})
	}
}

func TestDecoratedPublishersInARouter(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pubsub := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	require.NoError(t, err)
	router.AddPublisherDecorators(inOrder(everyPublisher())...)
	router.AddHandler("copy", "in", pubsub, "out", pubsub, func(msg *message.Message) ([]*message.Message, error) {
		out := secretMessage()
		out.SetContext(bus.WithMetadata(msg.Context(), bus.Metadata{CorrelationID: "req-7"}))
		return message.Messages{out}, nil
	})
	results, err := pubsub.Subscribe(ctx, "out")
	require.NoError(t, err)
	require.NoError(t, pubsub.Publish("in", message.NewMessage("in-1", []byte(`{}`))))
	done := make(chan error, 1)
	go func() { done <- router.Run(ctx) }()
	select {
	case msg := <-results:
		require.Equal(t, "req-7", msg.Metadata["correlation_id"])
		require.Equal(t, "[redacted]", msg.Metadata["authorization"])
		require.NotEmpty(t, msg.Metadata["traceparent"])
		require.JSONEq(t, `{"password":"[redacted]","user":"ada"}`, string(msg.Payload))
		msg.Ack()
	case <-ctx.Done():
		t.Fatal("nothing came out of the router")
	}
	require.NoError(t, router.Close())
	require.NoError(t, <-done)
}

func TestAMistakenDecoratorIsTheRoutersError(t *testing.T) {
	t.Parallel()
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	require.NoError(t, err)
	pubsub := gochannel.NewGoChannel(gochannel.Config{}, watermill.NopLogger{})
	router.AddHandler("copy", "in", pubsub, "out", pubsub, message.PassthroughHandler)
	router.AddPublisherDecorators(decorators.PublisherMetrics(nil))
	require.ErrorContains(t, router.Run(t.Context()), "PublisherMetrics has no Registerer")
}

func TestDecoratedPublishersOverKafka(t *testing.T) {
	t.Parallel()
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 3, nil)
	direct, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}}})
	require.NoError(t, err)
	publisher := decorated(t, direct, inOrder(everyPublisher())...)

	ctx := bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "req-7"})
	first, second := secretMessage(), secretMessage()
	first.SetContext(ctx)
	second.UUID = "m-2"
	require.NoError(t, publisher.Publish("orders", first, second))
	records := broker.Records(t, "orders")
	require.Len(t, records, 2)
	for i, record := range records {
		require.JSONEq(t, `{"password":"[redacted]","user":"ada"}`, string(record.Value))
		require.Equal(t, "k", string(record.Key))
		for header, want := range map[string]string{
			"authorization": "[redacted]", "correlation_id": []string{"req-7", "m-2"}[i],
			"_watermill_message_uuid": []string{"m-1", "m-2"}[i],
		} {
			got, _ := record.Header(header)
			require.Equal(t, want, got, header)
		}
		_, traced := record.Header("traceparent")
		require.True(t, traced)
	}
	require.NoError(t, publisher.Close())
	require.Error(t, direct.Publish("orders", secretMessage()), "it was passed on")
	require.NoError(t, publisher.Close(), "and is not again")
}

func TestAnEventOfABusPassesUnchanged(t *testing.T) {
	t.Parallel()
	// All but tracing: a span of sending is in the message's context.
	k := &keeper{}
	b, err := bus.New(bus.Config{Service: "user-service", NoTracing: true, Publisher: decorated(t, k,
		decorators.PublisherCorrelation(), decorators.PublisherRedaction(decorators.PublisherRedactionConfig{}),
		decorators.PublisherValidation(decorators.PublisherValidationConfig{Envelopes: true}))})
	require.NoError(t, err)
	ctx := bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "req-7", UserID: "u", SessionID: "s", SourceIP: "10.0.0.1", UserAgent: "curl"})
	for _, event := range []envelopes.Event{
		envelopes.Domain{AggregateType: "user", AggregateID: "u-1", EventType: "created", EventData: user{ID: "u-1"}},
		envelopes.Audit{EventType: envelopes.UserLogin, Action: "login", ResourceType: "session", ResourceID: "s-1"},
		envelopes.Notification{EventType: envelopes.UserPasswordReset, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{"u-1"}, Subject: "Your password", Message: "…"},
	} {
		_, want, err := b.Message(ctx, event)
		require.NoError(t, err)
		require.NoError(t, b.Publisher().Publish("orders", want))
		require.Same(t, want, k.calls[len(k.calls)-1][0], "nothing had to change")
	}
}
