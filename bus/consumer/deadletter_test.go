package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

func returning(err error) message.HandlerFunc {
	return func(*message.Message) ([]*message.Message, error) {
		return message.Messages{message.NewMessage("produced by a failed handler", nil)}, err
	}
}

func TestDeadLetterCarriesEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := newOutlet()
		began := time.Now()
		msg := message.NewMessage("event-1", []byte(`{"a":1}`))
		msg.Metadata.Set("correlation_id", "c-1")
		msg.Metadata.Set(deadletter.HeaderRow, "7") // of an earlier death
		msg.SetContext(delivery.WithOrigin(t.Context(), delivery.Origin{
			Topic: "marty.audit.events", Partition: 3, Offset: 42, Key: []byte("user-1"),
		}))
		handler := chained(returning(errBoom), mustChain(t, consumer.Config{
			DeadLetter: consumer.DeadLetterConfig{Publisher: out, Naming: topics.Naming{Prefix: "marty"}},
			Retry:      consumer.RetryConfig{MaxRetries: 2, InitialInterval: time.Second},
		})...)

		produced, err := handler(msg)
		require.NoError(t, err, "the original may be acked")
		require.Empty(t, produced, "a failed handler's messages are not published")

		require.Equal(t, []string{"marty.dead.letter.queue"}, out.topics)
		letter := out.all()[0]
		require.Equal(t, "event-1", letter.UUID)
		require.JSONEq(t, `{"a":1}`, string(letter.Payload))

		first, err := time.Parse(deadletter.TimeFormat, letter.Metadata[deadletter.HeaderFirstFailure])
		require.NoError(t, err)
		last, err := time.Parse(deadletter.TimeFormat, letter.Metadata[deadletter.HeaderLastFailure])
		require.NoError(t, err)
		require.True(t, first.Equal(began))
		require.True(t, last.Equal(time.Now()))
		require.GreaterOrEqual(t, last.Sub(first), 1500*time.Millisecond, "two waits lie between them")
		delete(letter.Metadata, deadletter.HeaderFirstFailure)
		delete(letter.Metadata, deadletter.HeaderLastFailure)
		require.Equal(t, message.Metadata{
			"correlation_id":           "c-1",
			delivery.KeyMetadata:       "user-1",
			deadletter.HeaderSource:    deadletter.SourceConsumer,
			deadletter.HeaderReason:    "boom",
			deadletter.HeaderTopic:     "marty.audit.events",
			deadletter.HeaderPartition: "3",
			deadletter.HeaderOffset:    "42",
			deadletter.HeaderKey:       "user-1",
			deadletter.HeaderAttempts:  "3",
		}, letter.Metadata)

		require.Equal(t, message.Metadata{"correlation_id": "c-1", deadletter.HeaderRow: "7"}, msg.Metadata,
			"the message itself stays as it was")
	})
}

func TestDeadLetterFilter(t *testing.T) {
	t.Parallel()
	domestic := errors.New("a fault that Keep knows")
	tests := []struct {
		shows string
		err   error
		kept  bool
	}{
		{"a handler's error is the message's", errBoom, false},
		{"a cancellation is nobody's fault", context.Canceled, true},
		{"wrapped too", fmt.Errorf("query: %w", context.Canceled), true},
		{"an attempt's timeout is the message's", fmt.Errorf("%w: %w", consumer.ErrTimeout, context.Canceled), false},
		{"an outage is not", fmt.Errorf("saving: %w", consumer.Outage(errBoom)), true},
		{"nor what Keep says", domestic, true},
		{"unless the handler says permanent", consumer.Permanent(domestic), false},
		{"which overrules an outage", consumer.Permanent(consumer.Outage(errBoom)), false},
		{"undecodable is the message's", fmt.Errorf("%w: %w", envelopes.ErrInvalid, domestic), false},
	}
	for _, tt := range tests {
		t.Run(tt.shows, func(t *testing.T) {
			t.Parallel()
			out := newOutlet()
			deadLetter := mustDeadLetter(t, consumer.DeadLetterConfig{
				Publisher: out, Keep: func(err error) bool { return errors.Is(err, domestic) },
			})
			produced, err := deadLetter(returning(tt.err))(message.NewMessage("1", nil))
			require.Empty(t, produced, "a failed handler's messages are not published")
			if tt.kept {
				require.ErrorIs(t, err, tt.err)
				require.Empty(t, out.all())
				return
			}
			require.NoError(t, err)
			require.Equal(t, "1", out.all()[0].Metadata[deadletter.HeaderAttempts], "also without Retry")
			require.Equal(t, tt.err.Error(), out.all()[0].Metadata[deadletter.HeaderReason])
		})
	}
}

func TestDeadLetterNotPublishedKeepsTheMessage(t *testing.T) {
	t.Parallel()
	out := newOutlet()
	away := errors.New("broker away")
	out.failWith(away)
	deadLetter := mustDeadLetter(t, consumer.DeadLetterConfig{Publisher: out})
	msg := message.NewMessage("1", nil)
	_, err := deadLetter(returning(errBoom))(msg)
	require.ErrorIs(t, err, away)
	require.ErrorIs(t, err, errBoom)
	require.ErrorContains(t, err, "the message is kept")
	require.Empty(t, msg.Metadata)
}

func TestDeadLetterOfTheDeadLetterTopicIsKept(t *testing.T) {
	t.Parallel()
	b, out := newBench(t), newOutlet()
	b.router.AddPlugin(consumer.Plugin(quick(out)))
	var runs atomic.Int32
	consumer.Add(b.router, "replay", b.pubsub, "dead.letter.queue", func(*message.Message) error {
		runs.Add(1)
		return consumer.Permanent(errBoom)
	})
	b.run()
	b.publish("dead.letter.queue", message.NewMessage("1", nil))
	require.Eventually(t, func() bool { return runs.Load() > 1 }, patience, time.Millisecond, "it comes back")
	require.Empty(t, out.all(), "or it would go round as ever longer chains of copies")
}

func TestDeadLetterOutlivesTheDeadlineTheMessageRanInto(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	out := newOutlet() // refuses messages whose context has ended
	deadLetter := mustDeadLetter(t, consumer.DeadLetterConfig{Publisher: out})
	_, err := deadLetter(returning(context.DeadlineExceeded))(message.NewMessageWithContext(ctx, "1", nil))
	require.NoError(t, err)
	require.Len(t, out.all(), 1)
}

func TestDeadLetterPublishTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		deadLetter := mustDeadLetter(t, consumer.DeadLetterConfig{Publisher: hanging{}})
		began := time.Now()
		_, err := deadLetter(returning(errBoom))(message.NewMessage("1", nil))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

// hanging is a publisher that answers when the message's context ends.
type hanging struct{}

func (hanging) Publish(_ string, messages ...*message.Message) error {
	<-messages[0].Context().Done()
	return messages[0].Context().Err()
}

func (hanging) Close() error { return nil }

func TestDeadLetterReasonIsBounded(t *testing.T) {
	t.Parallel()
	out := newOutlet()
	deadLetter := mustDeadLetter(t, consumer.DeadLetterConfig{Publisher: out})
	_, err := deadLetter(returning(errors.New(strings.Repeat("long ", 10_000))))(message.NewMessage("1", nil))
	require.NoError(t, err)
	require.LessOrEqual(t, len(out.all()[0].Metadata[deadletter.HeaderReason]), deadletter.MaxReason)
}

func TestDeadLetterKeyIsTheMessagesOwn(t *testing.T) {
	t.Parallel()
	out := newOutlet()
	deadLetter := mustDeadLetter(t, consumer.DeadLetterConfig{Publisher: out})

	keyless := message.NewMessageWithContext(delivery.WithOrigin(t.Context(), delivery.Origin{Topic: "t"}), "1", nil)
	_, err := deadLetter(returning(errBoom))(keyless)
	require.NoError(t, err)
	require.NotContains(t, out.all()[0].Metadata, delivery.KeyMetadata, "no key is a null key")
	require.NotContains(t, out.all()[0].Metadata, deadletter.HeaderKey)
	require.Equal(t, "0", out.all()[0].Metadata[deadletter.HeaderPartition])

	keyed := message.NewMessage("2", nil) // a Pub/Sub that says nothing about origins
	keyed.Metadata.Set(delivery.KeyMetadata, "k")
	_, err = deadLetter(returning(errBoom))(keyed)
	require.NoError(t, err)
	require.Equal(t, "k", out.all()[1].Metadata[delivery.KeyMetadata])
	require.Equal(t, "k", out.all()[1].Metadata[deadletter.HeaderKey])
	require.NotContains(t, out.all()[1].Metadata, deadletter.HeaderPartition)
}

func TestConfigReportsAllFaults(t *testing.T) {
	t.Parallel()
	_, err := consumer.Chain(consumer.Config{
		DeadLetter: consumer.DeadLetterConfig{Topic: "not a topic", PublishTimeout: -1},
		Retry:      consumer.RetryConfig{Multiplier: 0.1},
	})
	require.ErrorContains(t, err, "DeadLetter.Publisher is missing")
	require.ErrorContains(t, err, `topic "not a topic"`)
	require.ErrorContains(t, err, "PublishTimeout")
	require.ErrorContains(t, err, "Multiplier")
	require.ErrorIs(t, err, topics.ErrInvalid)

	b := newBench(t)
	b.router.AddPlugin(consumer.Plugin(consumer.Config{}))
	require.ErrorContains(t, b.router.Run(t.Context()), "DeadLetter.Publisher is missing")
}
