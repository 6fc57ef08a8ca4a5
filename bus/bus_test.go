package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

func TestEachKindGoesToItsTopicUnderItsKey(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for what, c := range map[string]struct {
		publish    func(*bus.Bus) (string, error)
		topic, key string
		keyIsID    bool
	}{
		"audit": {func(b *bus.Bus) (string, error) {
			event := loggedIn()
			event.ResourceID = "s-1"
			return b.PublishAudit(ctx, event)
		}, "marty.audit.events", "s-1", false},
		"audit of no resource": {func(b *bus.Bus) (string, error) { return b.PublishAudit(ctx, loggedIn()) }, "marty.audit.events", "", false},
		"notification to one":  {func(b *bus.Bus) (string, error) { return b.PublishNotification(ctx, welcome("u-1")) }, "marty.notification.events", "u-1", false},
		"notification to two":  {func(b *bus.Bus) (string, error) { return b.PublishNotification(ctx, welcome("u-1", "u-2")) }, "marty.notification.events", "", true},
		"domain":               {func(b *bus.Bus) (string, error) { return b.PublishDomain(ctx, userCreated("u-1")) }, "marty.user-service.user.user_created", "u-1", false},
		"custom": {func(b *bus.Bus) (string, error) {
			return b.PublishCustom(ctx, envelopes.Custom{Topic: "integration.events", Key: "k", EventType: "sync", Payload: 1})
		}, "marty.integration.events", "k", false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b, r := direct(t)
			id, err := c.publish(b)
			require.NoError(t, err)
			topic, envelope, msg := r.only(t)
			require.Equal(t, c.topic, topic)
			require.Equal(t, id, msg.UUID)
			require.Equal(t, id, envelope.Metadata.EventID)
			key, has := msg.Metadata[delivery.KeyMetadata]
			switch {
			case c.keyIsID:
				require.Equal(t, id, key)
			case c.key == "":
				require.False(t, has, "no key is an absent field, never an empty one")
			default:
				require.Equal(t, c.key, key)
			}
		})
	}
}

func TestTheMessageOfAnEvent(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	event := userCreated("u-1")
	event.Metadata = envelopes.Metadata{
		EventID: "e-1", CorrelationID: "req\n7", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7",
	}
	id, err := b.PublishDomain(context.Background(), event)
	require.NoError(t, err)
	require.Equal(t, "e-1", id, "the caller's id is kept")
	_, envelope, msg := r.only(t)
	require.Equal(t, message.Metadata{
		"record_key": "u-1", "correlation_id": "req%0A7",
		"traceparent":    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"ce_specversion": "1.0", "ce_id": "e-1", "ce_source": "/user-service", "ce_type": "user_created",
		"ce_time": "2024-07-15T12:00:00.123456Z", "ce_subject": "u-1", "content-type": "application/json",
	}, msg.Metadata)
	require.Equal(t, "req\n7", envelope.Metadata.CorrelationID, "the envelope has it as it was")
	require.Equal(t, "1.0.0", envelope.Metadata.ServiceVersion)
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := bus.New(bus.Config{Topics: topics.Naming{Prefix: "a b"}})
	require.ErrorIs(t, err, bus.ErrConfig)
	require.ErrorIs(t, err, topics.ErrInvalid)
	for _, want := range []string{"Service is empty", `prefix "a b"`, "neither DB nor Publisher is set"} {
		require.ErrorContains(t, err, want)
	}
	_, err = bus.New(bus.Config{Service: "user service", Publisher: &recorder{}, Outbox: &recorder{}})
	require.ErrorContains(t, err, `Service is part of topic names`)
	require.ErrorContains(t, err, "both an outbox and Publisher are set")
	_, err = bus.New(bus.Config{Service: "s", Publisher: &recorder{}, Table: "t"})
	require.ErrorContains(t, err, "Table is set, but no DB")
}

func TestAFaultyEventPublishesNothing(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	ctx := context.Background()

	_, err := b.PublishDomain(ctx, envelopes.Domain{AggregateType: "us er", EventType: "created", EventData: []int{}})
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.ErrorIs(t, err, topics.ErrInvalid)
	require.ErrorContains(t, err, "payload.aggregate_id is missing")
	require.ErrorContains(t, err, "payload.event_data is an array")
	require.ErrorContains(t, err, `aggregate type "us er" has ' ' at position 3`)

	ids, err := b.PublishAll(ctx, userCreated("u-1"), envelopes.Audit{}, nil, envelopes.Custom{Topic: "t"})
	require.Nil(t, ids)
	for _, want := range []string{"event 2 of 4: envelopes: event_type", "event 3 of 4: ", "event 4 of 4: envelopes: event_type is missing"} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "event 1 of 4")

	same := userCreated("u-1")
	same.Metadata.EventID = "e-1"
	_, err = b.PublishAll(ctx, same, loggedIn(), same)
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.ErrorContains(t, err, "events 1 and 3 have the same id and topic")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = b.PublishDomain(cancelled, userCreated("u-1"))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, r.all)
}

func TestPublishAllDirectlyIsOneCallATopic(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	ids, err := b.PublishAll(context.Background(), userCreated("u-1"), loggedIn(), userCreated("u-2"), welcome("u-1"), loggedIn())
	require.NoError(t, err)
	require.Equal(t, 3, r.calls)
	byTopic := map[string][]string{}
	for _, s := range r.all {
		byTopic[s.topic] = append(byTopic[s.topic], s.msg.UUID)
	}
	require.Equal(t, map[string][]string{
		"marty.user-service.user.user_created": {ids[0], ids[2]},
		"marty.audit.events":                   {ids[1], ids[4]},
		"marty.notification.events":            {ids[3]},
	}, byTopic)

	none, err := b.PublishAll(context.Background())
	require.NoError(t, err)
	require.Empty(t, none)
	require.Equal(t, 3, r.calls, "no events are no call")
}

func TestAPublishersErrorIsWrapped(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	broken := errors.New("broken")
	r.fail = map[string]error{"marty.audit.events": broken}
	id, err := b.PublishAudit(context.Background(), loggedIn())
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, "bus: publish to marty.audit.events: broken")
	require.Empty(t, id)
	_, err = b.PublishAll(context.Background(), userCreated("u"), loggedIn(), loggedIn())
	require.EqualError(t, err, "bus: publish 2 events to marty.audit.events (1 of 2 topics were done before): broken")
}

func TestRepublishNeedsIDs(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	_, err := b.Republish(context.Background(), userCreated("u"))
	require.ErrorContains(t, err, "event 1 has no event id to be known by")
	event := userCreated("u")
	event.Metadata.EventID = "e-1"
	for range 2 {
		n, err := b.Republish(context.Background(), event)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	require.Len(t, r.all, 2, "directly, everything is sent again")
	r.fail = map[string]error{userTopic: errors.New("broken")}
	n, err := b.Republish(context.Background(), event)
	require.Error(t, err)
	require.Zero(t, n)
}

func TestWithoutAnOutboxATransactionIsAnError(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	ctx := context.Background()
	_, err := b.InTx(nil).PublishAudit(ctx, loggedIn())
	require.ErrorContains(t, err, "the transaction given is nil")
	tx := unopened(t)
	_, err = b.InTx(tx).PublishAudit(ctx, loggedIn())
	require.ErrorIs(t, err, bus.ErrNoOutbox)
	_, err = b.PublishAudit(b.WithTx(ctx, tx), loggedIn())
	require.ErrorIs(t, err, bus.ErrNoOutbox)
	require.ErrorIs(t, b.Transact(ctx, nil), bus.ErrNoOutbox)
	require.Empty(t, r.all)
	require.False(t, b.Outboxed())
}

func TestAnOutboxOfYourOwn(t *testing.T) {
	t.Parallel()
	r, woken := &recorder{}, 0
	b, err := bus.New(bus.Config{Service: "s", Outbox: r, OnCommit: func() { woken++ }})
	require.NoError(t, err)
	require.True(t, b.Outboxed())
	ctx, tx := context.Background(), unopened(t)
	_, err = b.PublishAll(b.WithTx(ctx, tx), loggedIn(), userCreated("u"))
	require.NoError(t, err)
	require.Zero(t, woken, "nothing is committed yet")
	_, err = b.InTx(tx).PublishAudit(ctx, loggedIn())
	require.NoError(t, err)
	_, err = b.PublishAudit(ctx, loggedIn())
	require.NoError(t, err)
	require.Equal(t, 1, woken)
	require.Equal(t, 3, r.calls, "two topics, one call")
	require.True(t, r.tx[0] == tx && r.tx[1] == tx && r.tx[2] == nil)
	require.ErrorContains(t, b.Transact(ctx, nil), "Transact needs a database to begin a transaction on: set Config.DB")
}

func TestLogsHoldNoPayload(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b, _ := direct(t, func(c *bus.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	id, err := b.PublishDomain(context.Background(), userCreated("u-1"))
	require.NoError(t, err)
	require.Contains(t, out.String(), "event_id="+id)
	require.Contains(t, out.String(), "topic=marty.user-service.user.user_created")
	require.NotContains(t, out.String(), "user@example.com")
}

func TestBusLinksNoKafkaClient(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "watermill")
	for _, client := range []string{"sarama", "franz-go", "watermill-kafka", "confluent", "tailrace/bus/kafka"} {
		require.NotContains(t, string(out), client)
	}
}
