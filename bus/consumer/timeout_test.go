package consumer_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
)

func untilDone(msg *message.Message) ([]*message.Message, error) {
	<-msg.Context().Done()
	return nil, msg.Context().Err()
}

func TestTimeoutEndsTheContextAndGivesTheOldOneBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		msg := message.NewMessageWithContext(ctx, "1", nil)
		began := time.Now()
		_, err := consumer.Timeout(3 * time.Second)(untilDone)(msg)
		require.Equal(t, 3*time.Second, time.Since(began))
		require.ErrorIs(t, err, consumer.ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, "consumer: attempt timed out after 3s: context deadline exceeded")
		require.Equal(t, ctx, msg.Context())
	})
}

func TestTimeoutDefaultAndNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := consumer.Timeout(0)(untilDone)(message.NewMessage("1", nil))
		require.ErrorIs(t, err, consumer.ErrTimeout)
		require.Equal(t, consumer.DefaultTimeout, time.Since(began))

		_, err = consumer.Timeout(-1)(func(msg *message.Message) ([]*message.Message, error) {
			_, limited := msg.Context().Deadline()
			require.False(t, limited)
			return nil, nil
		})(message.NewMessage("1", nil))
		require.NoError(t, err)
	})
}

func TestTimeoutLeavesOtherErrorsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		quickly := func(*message.Message) ([]*message.Message, error) { return nil, errBoom }
		_, err := consumer.Timeout(time.Second)(quickly)(message.NewMessage("1", nil))
		require.Equal(t, errBoom, err)

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = consumer.Timeout(time.Hour)(untilDone)(message.NewMessageWithContext(ctx, "1", nil))
		require.Equal(t, context.Canceled, err, "a shutdown is no timeout")
	})
}

// TestTimeoutLetsWhatTheHandlerReturnsBePublished: a publisher refuses a message whose context has ended.
func TestTimeoutLetsWhatTheHandlerReturnsBePublished(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx, stop := context.WithCancel(t.Context())
	consumed, plain := message.NewMessageWithContext(ctx, "1", nil), message.NewMessage("3", nil)
	produced, err := consumer.Timeout(time.Minute)(func(msg *message.Message) ([]*message.Message, error) {
		made := message.NewMessageWithContext(context.WithValue(msg.Context(), key{}, "value"), "2", nil)
		return []*message.Message{made, plain, msg}, nil
	})(consumed)
	require.NoError(t, err)
	for _, out := range produced {
		require.NoError(t, out.Context().Err(), out.UUID)
	}
	require.Equal(t, "value", produced[0].Context().Value(key{}))
	require.Equal(t, context.Background(), plain.Context(), "not the attempt's")
	require.Equal(t, ctx, consumed.Context())

	stop()
	<-produced[0].Context().Done() // as the message's own does
	require.NoError(t, plain.Context().Err())
}
