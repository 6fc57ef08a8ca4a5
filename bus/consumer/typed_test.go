package consumer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
)

// wire returns a record as the system's consumers read it.
func wire(t testing.TB, name string) *message.Message {
	t.Helper()
	payload, err := os.ReadFile(filepath.Join("..", "..", "envelopes", "testdata", name+".json"))
	require.NoError(t, err)
	return message.NewMessage("record-"+name, payload)
}

// envelope is a message as the old publisher sends it: an envelope and nothing else.
func envelope(eventType, payload string) *message.Message {
	return message.NewMessage("", fmt.Appendf(nil, `{
		"metadata": {"event_id": "e-1", "timestamp": "2026-03-01T10:00:00Z", "service_name": "s", "service_version": "1"},
		"event_type": %q, "payload": %s}`, eventType, payload))
}

func TestTypedHandlersReadTheWire(t *testing.T) {
	t.Parallel()
	type sync struct {
		System string
		IDs    []int
	}
	got := map[string]string{}
	for name, handle := range map[string]message.NoPublishHandlerFunc{
		"audit": consumer.Audit(func(_ context.Context, event envelopes.Audit, meta consumer.Meta) error {
			got["audit"] = fmt.Sprint(event.EventType, event.Action, event.ResourceID, meta.Event.UserID)
			return nil
		}),
		"legacy-audit": consumer.Audit(func(_ context.Context, event envelopes.Audit, meta consumer.Meta) error {
			got["legacy-audit"] = fmt.Sprint(event.EventType, event.Action, meta.Event.Priority, meta.Event.Timestamp.Format(time.RFC3339))
			return nil
		}),
		"notification": consumer.Notification(func(_ context.Context, event envelopes.Notification, meta consumer.Meta) error {
			got["notification"] = fmt.Sprint(event.EventType, event.RecipientIDs, meta.EventType)
			return nil
		}),
		"domain": consumer.Domain(func(_ context.Context, event envelopes.Domain, _ consumer.Meta) error {
			data, err := envelopes.DataAs[map[string]string](event)
			got["domain"] = fmt.Sprint(event.EventType, event.AggregateID, data["role"])
			return err
		}),
		"custom": consumer.Custom(func(_ context.Context, event sync, meta consumer.Meta) error {
			got["custom"] = fmt.Sprint(meta.EventType, event)
			return nil
		}),
	} {
		require.NoError(t, handle(wire(t, name)), name)
	}
	require.Equal(t, map[string]string{
		"audit":        "data.createdcreate_useruser-123admin-1",
		"legacy-audit": "user.loginloginnormal2024-07-15T09:30:00Z",
		"notification": "user.welcome[user-123]user.welcome",
		"domain":       "user_createduser-123customer",
		"custom":       "sync_requested{crm [1 2 3]}",
	}, got)
}

func TestUndecodableMessagesAreDeadLetteredAtOnce(t *testing.T) {
	t.Parallel()
	unreachable := errors.New("the handler must not see it")
	audit := consumer.Audit(func(context.Context, envelopes.Audit, consumer.Meta) error { return unreachable })
	domain := consumer.Domain(func(context.Context, envelopes.Domain, consumer.Meta) error { return unreachable })
	custom := consumer.Custom(func(context.Context, struct{ N int }, consumer.Meta) error { return unreachable })
	tests := []struct {
		shows  string
		handle message.NoPublishHandlerFunc
		msg    *message.Message
		reason string
	}{
		{"bad JSON", audit, message.NewMessage("", []byte(`{"metadata": secret`)), "is not JSON"},
		{"no body", audit, message.NewMessage("", nil), "envelopes: "},
		{"no metadata", audit, message.NewMessage("", []byte(`{"event_type": "x", "payload": {}}`)), "metadata is missing"},
		{"a required field is missing", domain, envelope("x", `{"aggregate_type": "user"}`), "payload.aggregate_id is missing"},
		{"a field has the wrong type", domain, envelope("x", `{"aggregate_type": "user", "aggregate_id": 7}`), "payload.aggregate_id is a number"},
		{"another kind of event", audit, wire(t, "domain"), "payload."},
		{"a custom payload of another type", custom, envelope("x", `{"N": "secret"}`), "payload.N"},
		{"not for one that skips unknown types", consumer.Dispatch(consumer.SkipUnknown), message.NewMessage("", []byte(`[]`)), "envelopes: "},
	}
	for _, tt := range tests {
		t.Run(tt.shows, func(t *testing.T) {
			t.Parallel()
			b, out := newBench(t), newOutlet()
			b.router.AddPlugin(consumer.Plugin(quick(out)))
			var runs atomic.Int32
			consumer.Add(b.router, "h", b.pubsub, "in", func(msg *message.Message) error {
				runs.Add(1)
				return tt.handle(msg)
			})
			b.run()
			b.publish("in", tt.msg)
			await(t, out.arrived)
			require.NoError(t, b.router.Close())

			require.EqualValues(t, 1, runs.Load(), "trying again cannot help")
			require.Len(t, out.all(), 1)
			letter := out.all()[0]
			require.Contains(t, letter.Metadata[deadletter.HeaderReason], tt.reason)
			require.NotContains(t, letter.Metadata[deadletter.HeaderReason], "secret", "reasons carry no payload")
			require.Equal(t, "1", letter.Metadata[deadletter.HeaderAttempts])
			require.Equal(t, tt.msg.Payload, letter.Payload)
		})
	}
}

func TestMeta(t *testing.T) {
	t.Parallel()
	var got consumer.Meta
	handle := consumer.Custom(func(_ context.Context, _ json.RawMessage, meta consumer.Meta) error {
		got = meta
		return nil
	})

	msg := wire(t, "custom")
	msg.Metadata.Set("x", "y")
	origin := delivery.Origin{Topic: "t", Partition: 2, Offset: 9, Key: []byte("k"), Time: time.Unix(5, 0)}
	msg.SetContext(delivery.WithOrigin(t.Context(), origin))
	require.NoError(t, handle(msg))
	require.Equal(t, origin, got.Origin)
	require.Equal(t, "y", got.Headers.Get("x"))
	require.Equal(t, "0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a04", got.Event.EventID)
	require.Equal(t, 1, got.Attempt)

	plain := wire(t, "custom")
	plain.Metadata.Set(delivery.KeyMetadata, "k")
	require.NoError(t, handle(plain))
	require.Equal(t, delivery.Origin{Key: []byte("k"), Partition: -1, Offset: -1}, got.Origin)

	meta, err := consumer.MetaFrom(plain)
	require.NoError(t, err)
	require.Equal(t, got, meta)
	_, err = consumer.MetaFrom(message.NewMessage("1", []byte("no event")))
	require.ErrorIs(t, err, envelopes.ErrInvalid)
}

func TestPayloadReplacedByAMiddlewareIsDecodedAnew(t *testing.T) {
	t.Parallel()
	var got string
	handle := func(msg *message.Message) ([]*message.Message, error) {
		return nil, consumer.Custom(func(_ context.Context, _ json.RawMessage, meta consumer.Meta) error {
			got = meta.EventType
			return nil
		})(msg)
	}
	upcast := func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			msg.Payload = envelope("newer", "{}").Payload
			return next(msg)
		}
	}
	_, err := chained(handle, consumer.Correlation, upcast)(envelope("older", "{}"))
	require.NoError(t, err)
	require.Equal(t, "newer", got)
}
