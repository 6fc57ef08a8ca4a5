package consumer_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
)

type user struct {
	Email string `json:"email"`
	Role  string `json:"role"`
}

var (
	userCreated = bus.Define[user]("User", "USER_CREATED") // the wire's is lower case
	orderPlaced = bus.Define[user]("order", "user_created")
)

func TestHandleDefinedEvents(t *testing.T) {
	t.Parallel()
	var got consumer.Event[user]
	handle := consumer.Handle(userCreated, func(ctx context.Context, event consumer.Event[user]) error {
		require.Equal(t, event.Metadata.EventID, bus.MetadataFrom(ctx).CausationID)
		got = event
		return nil
	})
	require.NoError(t, handle(wire(t, "domain")))
	require.Equal(t, user{"user@example.com", "customer"}, got.Data)
	require.Equal(t, "user-123", got.AggregateID)
	require.Equal(t, 1, got.EventVersion)
	require.Equal(t, "user_created", got.Meta.EventType)
	require.Equal(t, "req-7f3a", got.Metadata.CorrelationID)
}

func TestHandleRefusesOtherEvents(t *testing.T) {
	t.Parallel()
	never := func(context.Context, consumer.Event[user]) error { panic("not for this event") }

	err := consumer.Handle(orderPlaced, never)(wire(t, "domain"))
	require.ErrorIs(t, err, bus.ErrOtherEvent)
	require.ErrorIs(t, err, consumer.ErrPermanent)

	err = consumer.Handle(userCreated, never)(envelope("user_created",
		`{"aggregate_type": "user", "aggregate_id": "u", "event_type": "user_created", "event_data": {"role": 7}}`))
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.ErrorContains(t, err, "event_data.role")
}

func TestDispatchByAggregateAndType(t *testing.T) {
	t.Parallel()
	var got []string
	note := func(what string) func(context.Context, consumer.Event[user]) error {
		return func(_ context.Context, event consumer.Event[user]) error {
			got = append(got, what+":"+event.AggregateID)
			return nil
		}
	}
	handle := consumer.Dispatch(consumer.DeadLetterUnknown,
		consumer.On(orderPlaced, note("order")),
		consumer.On(userCreated, note("user")),
	)
	require.NoError(t, handle(wire(t, "domain")))
	require.NoError(t, handle(envelope("user_created",
		`{"aggregate_type": "order", "aggregate_id": "o-1", "event_type": "user_created", "event_data": {}}`)))
	require.Equal(t, []string{"user:user-123", "order:o-1"}, got)

	other := envelope("user_created", `{"aggregate_type": "cat", "aggregate_id": "c", "event_data": {}}`)
	require.ErrorIs(t, handle(other), consumer.ErrUnknownType)

	fallback := consumer.Dispatch(consumer.DeadLetterUnknown,
		consumer.On(userCreated, note("user")),
		consumer.OnType("user_created", noting(&got, "any")),
	)
	require.NoError(t, fallback(other))
	require.Equal(t, "any:user_created", got[len(got)-1])
}
