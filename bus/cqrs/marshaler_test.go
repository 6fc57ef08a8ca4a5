package cqrs_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/cqrs"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

func TestAnEventOfTheWireIsReadAndWrittenUnchanged(t *testing.T) {
	t.Parallel()
	wire, err := os.ReadFile(filepath.Join("..", "..", "envelopes", "testdata", "domain.json"))
	require.NoError(t, err)
	m, events, recorder := overRecorder(t)

	in := message.NewMessage("1", wire)
	require.Equal(t, m.Name(User{}), m.NameFromMessage(in))
	var user User
	require.NoError(t, m.Unmarshal(in, &user))
	require.Equal(t, User{Email: "user@example.com", Role: "customer", CreatedAt: "2024-01-01T00:00:00Z"}, user)

	ctx := bus.WithMetadata(t.Context(), bus.Metadata{
		CorrelationID: "req-7f3a", UserID: "admin-1", SourceIP: "203.0.113.7", UserAgent: "curl/8.5.0",
	})
	traceID, _ := trace.TraceIDFromHex("4bf92f3577b34da6a3ce929d0e0e4736")
	spanID, _ := trace.SpanIDFromHex("00f067aa0ba902b7")
	ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID}))
	user.ID = "user-123"
	require.NoError(t, events.Publish(ctx, user))

	published := recorder.Events()[0]
	var want, got map[string]any
	require.NoError(t, json.Unmarshal(wire, &want))
	require.NoError(t, json.Unmarshal(published.Message.Payload, &got))
	metadata := got["metadata"].(map[string]any)
	require.Equal(t, published.Message.UUID, metadata["event_id"])
	at, err := time.Parse(time.RFC3339, metadata["timestamp"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	for _, own := range []string{"event_id", "timestamp"} { // differ in every event
		metadata[own] = want["metadata"].(map[string]any)[own]
	}
	if metadata["span_id"] != "00f067aa0ba902b7" { // a publishing span, child of the context's
		require.Len(t, metadata["span_id"], 16)
		metadata["span_id"] = "00f067aa0ba902b7"
	}
	require.Equal(t, want, got)

	require.Equal(t, "marty.user-service.user.user_created", published.Topic)
	for header, want := range map[string]string{
		delivery.KeyMetadata: "user-123", "correlation_id": "req-7f3a",
		envelopes.HeaderID: published.Message.UUID, envelopes.HeaderType: "user_created",
		envelopes.HeaderSource: "/user-service", envelopes.HeaderSubject: "user-123", envelopes.HeaderSpecVersion: "1.0",
	} {
		require.Equal(t, want, published.Message.Metadata.Get(header), header)
	}
	require.Contains(t, published.Message.Metadata.Get("traceparent"), "4bf92f3577b34da6a3ce929d0e0e4736")
}

func TestNamesAgree(t *testing.T) {
	t.Parallel()
	m, _, _ := overRecorder(t)
	for name, event := range map[string]any{
		"user/user_created": User{ID: "1"}, "user/renamed": Rename{User: "1"},
		"user/removed": &Removal{User: "1"}, "order/shipped": &Shipped{Order: "1"},
	} {
		msg, err := m.Marshal(event)
		require.NoError(t, err)
		require.Equal(t, name, m.Name(event))
		require.Equal(t, name, m.NameFromMessage(msg))
	}
	byValue, err := m.Marshal(Shipped{Order: "7", Boxes: 2})
	require.NoError(t, err, "also when the methods have pointer receivers")
	var shipped Shipped
	require.NoError(t, m.Unmarshal(byValue, &shipped))
	require.Equal(t, Shipped{Order: "7", Boxes: 2}, shipped)

	audit, err := envelopes.Encode(envelopes.Audit{
		Metadata:  envelopes.Metadata{EventID: "1", Timestamp: time.Now(), ServiceName: "users"},
		EventType: "renamed", Action: "rename", ResourceType: "user",
	})
	require.NoError(t, err)
	require.Equal(t, "renamed", m.NameFromMessage(message.NewMessage("1", audit)), "an audit event is not the domain event of its type")
}

func TestWhatCannotBePublished(t *testing.T) {
	t.Parallel()
	m, events, recorder := overRecorder(t)
	for name, test := range map[string]struct {
		event any
		want  error
		cure  string
	}{
		"unregistered":         {stranger{}, cqrs.ErrUnregistered, "cqrs.Register(registry, bus.Define[cqrs_test.stranger]"},
		"pointer to a pointer": {new(*User), cqrs.ErrUnregistered, "*cqrs_test.User"},
		"no aggregate id":      {User{}, envelopes.ErrInvalid, "payload.aggregate_id is missing"},
		"nil pointer":          {(*User)(nil), envelopes.ErrInvalid, "is nil"},
		"nil of an Event":      {(*Shipped)(nil), envelopes.ErrInvalid, "payload.aggregate_id is missing"},
		"nil":                  {nil, envelopes.ErrInvalid, "is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := events.Publish(t.Context(), test.event)
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.cure)
			if test.event != nil {
				require.NotPanics(t, func() { m.Name(test.event) })
			}
		})
	}
	t.Cleanup(func() { bustest.RequireNothing(t, recorder) })
}

func TestAReaderNeedsNoBus(t *testing.T) {
	t.Parallel()
	m, err := cqrs.New(cqrs.Config{Topics: naming, Registry: registry(cqrs.From("user-service"))})
	require.NoError(t, err)
	topic, err := m.SubscribeTopic(wmcqrs.EventProcessorGenerateSubscribeTopicParams{EventHandler: nothing[User]("h")})
	require.NoError(t, err)
	require.Equal(t, "marty.user-service.user.user_created", topic)
	_, err = m.Marshal(User{ID: "1"})
	require.ErrorIs(t, err, cqrs.ErrNoBus)
	_, err = m.EventBus()
	require.ErrorIs(t, err, cqrs.ErrNoBus)
}

func TestWithSetsMoreOfEachEvent(t *testing.T) {
	t.Parallel()
	recorder := bustest.NewRecorder()
	b, err := bus.New(bus.Config{Service: "shop", Publisher: recorder})
	require.NoError(t, err)
	type Paid struct{ Order string }
	r := cqrs.NewRegistry()
	cqrs.Register(r, bus.Define[Paid]("payment", "paid"), func(p Paid) string { return p.Order }, cqrs.With(bus.WithVersion(3)))
	m, err := cqrs.New(cqrs.Config{Bus: b, Registry: r})
	require.NoError(t, err)
	events, err := m.EventBus()
	require.NoError(t, err)
	require.NoError(t, events.Publish(t.Context(), Paid{"order-7"}))
	require.Equal(t, 3, bustest.RequireDomain(t, recorder, "payment", "paid").EventVersion)
}

func nothing[T any](name string) wmcqrs.EventHandler {
	return wmcqrs.NewEventHandler(name, func(context.Context, *T) error { return nil })
}

func TestTopics(t *testing.T) {
	t.Parallel()
	b, err := bus.New(bus.Config{Service: "shop", Topics: naming, Publisher: bustest.NewRecorder()})
	require.NoError(t, err)
	r := registry()
	type Paid struct{ Order string }
	cqrs.Register(r, bus.Define[Paid]("payment", "paid"), nil, cqrs.From("billing"))
	m, err := cqrs.New(cqrs.Config{Bus: b, Registry: r})
	require.NoError(t, err)

	for event, want := range map[any]string{
		User{}: "marty.shop.user.user_created", Rename{}: "marty.users", new(Removal): "marty.users", new(Shipped): "marty.shop.order.shipped",
	} {
		topic, err := m.PublishTopic(wmcqrs.GenerateEventPublishTopicParams{Event: event})
		require.NoError(t, err)
		require.Equal(t, want, topic)
	}
	_, err = m.PublishTopic(wmcqrs.GenerateEventPublishTopicParams{Event: Paid{}})
	require.ErrorContains(t, err, "is published by billing, and this is shop: register it without From")
	_, err = m.Marshal(Paid{})
	require.ErrorContains(t, err, "give Register one to publish it")
	topic, err := m.SubscribeTopic(wmcqrs.EventProcessorGenerateSubscribeTopicParams{EventHandler: nothing[Paid]("h")})
	require.NoError(t, err)
	require.Equal(t, "marty.billing.payment.paid", topic)
	_, err = m.SubscribeTopic(wmcqrs.EventProcessorGenerateSubscribeTopicParams{EventHandler: nothing[stranger]("h")})
	require.ErrorIs(t, err, cqrs.ErrUnregistered)

	group := func(handlers ...wmcqrs.GroupEventHandler) (string, error) {
		return m.SubscribeGroupTopic(wmcqrs.EventGroupProcessorGenerateSubscribeTopicParams{EventGroupName: "g", EventGroupHandlers: handlers})
	}
	topic, err = group(nothing[Rename](""), nothing[Removal](""))
	require.NoError(t, err)
	require.Equal(t, "marty.users", topic)
	_, err = group(nothing[Rename](""), nothing[User](""))
	require.ErrorContains(t, err, "marty.users and marty.shop.user.user_created: register them with the same OnTopic")
	_, err = group(nothing[stranger](""))
	require.ErrorIs(t, err, cqrs.ErrUnregistered)
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	r := registry()
	type other struct{}
	cqrs.Register(r, userCreated, nil)
	cqrs.Register(r, bus.Define[other]("User", "USER_CREATED"), nil)
	cqrs.Register(r, bus.Define[*stranger]("a", "b"), nil)
	cqrs.Register(r, bus.Define[stranger]("a b", "c"), nil)
	_, err := cqrs.New(cqrs.Config{Registry: r, Topics: topics.Naming{Prefix: "a:"}})
	require.ErrorIs(t, err, cqrs.ErrConfig)
	for _, part := range []string{
		"Topics: ", "cqrs_test.User is registered twice: keep one",
		"cqrs_test.User and cqrs_test.other are both registered as USER_CREATED of User",
		"*cqrs_test.stranger is a ptr: define and register the struct itself",
		"cqrs_test.stranger: cqrs: no service to read c of a b from: register it with From",
	} {
		require.ErrorContains(t, err, part)
	}
	b, err := bus.New(bus.Config{Service: "shop", Publisher: bustest.NewRecorder()})
	require.NoError(t, err)
	_, err = cqrs.New(cqrs.Config{Bus: b, Service: "other", Registry: r})
	require.ErrorContains(t, err, "set beside Bus")
	require.ErrorIs(t, err, topics.ErrInvalid)
}

func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	m, _, _ := overRecorder(t)
	good, err := m.Marshal(User{ID: "1"})
	require.NoError(t, err)
	bad := func(data any, aggregate, eventType string) *message.Message {
		payload, err := envelopes.Encode(envelopes.Domain{
			Metadata:      envelopes.Metadata{EventID: "1", Timestamp: time.Now(), ServiceName: "users"},
			AggregateType: aggregate, AggregateID: "1", EventType: eventType, EventData: data,
		})
		require.NoError(t, err)
		return message.NewMessage("1", payload)
	}
	secret := map[string]any{"email": 31337, "boxes": "31337"}
	for name, test := range map[string]struct {
		msg  *message.Message
		into any
		want error
	}{
		"not JSON":                   {message.NewMessage("1", []byte("{")), new(User), envelopes.ErrInvalid},
		"a field of another type":    {bad(secret, "user", "user_created"), new(User), envelopes.ErrInvalid},
		"the same, of an Event":      {bad(secret, "order", "shipped"), new(Shipped), envelopes.ErrInvalid},
		"another type":               {bad(nil, "user", "moved"), new(User), bus.ErrOtherEvent},
		"another type than an Event": {good, new(Shipped), bus.ErrOtherEvent},
		"unregistered":               {good, new(stranger), cqrs.ErrUnregistered},
		"by value":                   {good, User{}, nil},
		"into nil":                   {good, (*User)(nil), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := m.Unmarshal(test.msg.Copy(), test.into)
			require.Error(t, err)
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
			}
			require.NotContains(t, err.Error(), "31337")
		})
	}
}

func TestADecoratedMarshalerKeepsItsWork(t *testing.T) {
	t.Parallel()
	m, _, recorder := overRecorder(t)
	publish := func(decorate func(any, *message.Message) error) *message.Message {
		config := m.EventBusConfig()
		config.Marshaler = wmcqrs.CommandEventMarshalerDecorator{CommandEventMarshaler: m, DecorateFunc: decorate}
		events, err := wmcqrs.NewEventBusWithConfig(recorder, config)
		require.NoError(t, err)
		recorder.Reset()
		require.NoError(t, events.Publish(bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "c"}), User{ID: "1"}))
		return recorder.Events()[0].Message
	}
	msg := publish(func(_ any, msg *message.Message) error {
		msg.Metadata.Set("tenant", "blue")
		return nil
	})
	require.Equal(t, "blue", msg.Metadata.Get("tenant"))
	require.Equal(t, "c", msg.Metadata.Get("correlation_id"))
	msg = publish(func(_ any, msg *message.Message) error {
		msg.Payload = []byte("encrypted")
		return nil
	})
	require.Equal(t, "encrypted", string(msg.Payload), "and never the clear text again")
	msg = publish(func(_ any, msg *message.Message) error {
		var payload map[string]map[string]any
		envelope := map[string]any{"tenant": "<blue>"}
		require.NoError(t, json.Unmarshal(msg.Payload, &envelope))
		raw, err := json.Marshal(map[string]any{"metadata": envelope["metadata"], "payload": envelope["payload"]})
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &payload))
		payload["metadata"]["region"], payload["payload"]["signature"] = "eu", map[string]any{"metadata": 1}
		envelope["metadata"], envelope["payload"] = payload["metadata"], payload["payload"]
		msg.Payload, err = json.Marshal(envelope)
		return err
	})
	var got struct {
		Tenant   string
		Metadata map[string]any
		Payload  map[string]any
	}
	require.NoError(t, json.Unmarshal(msg.Payload, &got))
	require.Equal(t, "<blue>", got.Tenant, "fields that an event does not have")
	require.Equal(t, "eu", got.Metadata["region"])
	require.Equal(t, "c", got.Metadata["correlation_id"])
	require.Equal(t, map[string]any{"metadata": 1.0}, got.Payload["signature"])
	event, err := envelopes.Decode(msg.Payload)
	require.NoError(t, err)
	_, err = event.Domain()
	require.NoError(t, err)
}

func TestAnErrorOfThePublisherIsSeen(t *testing.T) {
	t.Parallel()
	_, events, recorder := overRecorder(t)
	away := errors.New("broker away")
	recorder.Fail(away)
	require.ErrorIs(t, events.Publish(t.Context(), User{ID: "1"}), away)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, events.Publish(ctx, User{ID: "1"}), context.Canceled)
}
