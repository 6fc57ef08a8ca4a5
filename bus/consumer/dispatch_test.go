package consumer_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
)

func noting(into *[]string, what string) message.NoPublishHandlerFunc {
	return consumer.Custom(func(_ context.Context, _ json.RawMessage, meta consumer.Meta) error {
		*into = append(*into, what+":"+meta.EventType)
		return nil
	})
}

func TestDispatchByEventType(t *testing.T) {
	t.Parallel()
	var got []string
	handle := consumer.Dispatch(consumer.DeadLetterUnknown,
		consumer.OnType(envelopes.UserLogin, noting(&got, "login")),
		consumer.OnType("data.created", noting(&got, "created")),
	)
	require.NoError(t, handle(wire(t, "audit")))
	require.NoError(t, handle(wire(t, "legacy-audit")), "the outer type is right in old records too")
	require.Equal(t, []string{"created:data.created", "login:user.login"}, got)

	msg := wire(t, "audit")
	ctx := msg.Context()
	require.NoError(t, handle(msg))
	require.Equal(t, ctx, msg.Context())
}

func TestDispatchPolicyForUnknownTypes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		unknown             consumer.Unknown
		err, permanent, out bool
	}{
		{consumer.SkipUnknown, false, false, false},
		{consumer.DeadLetterUnknown, true, true, false},
		{consumer.FailUnknown, true, false, true},
	}
	for _, tt := range tests {
		err := consumer.Dispatch(tt.unknown)(wire(t, "audit"))
		if !tt.err {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, consumer.ErrUnknownType)
		require.ErrorContains(t, err, `"data.created"`)
		if tt.permanent {
			require.ErrorIs(t, err, consumer.ErrPermanent)
		} else {
			require.NotErrorIs(t, err, consumer.ErrPermanent)
		}
		if tt.out {
			require.ErrorIs(t, err, consumer.ErrOutage)
		}
	}
}

func TestDispatchRefusesMistakes(t *testing.T) {
	t.Parallel()
	route := consumer.OnType("x", func(*message.Message) error { return nil })
	require.PanicsWithValue(t, `consumer: two routes for event type "x" of aggregate "": keep one`, func() {
		consumer.Dispatch(consumer.SkipUnknown, route, route)
	})
	require.Panics(t, func() { consumer.OnType("", func(*message.Message) error { return nil }) })
	require.Panics(t, func() { consumer.OnType("x", nil) })
}
