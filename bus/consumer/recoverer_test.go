package consumer_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
)

func panicking(value any) message.HandlerFunc {
	return func(*message.Message) ([]*message.Message, error) { panic(value) }
}

func TestRecovererKeepsTheStackOutOfTheText(t *testing.T) {
	t.Parallel()
	_, err := consumer.Recoverer(panicking("index out of reach"))(message.NewMessage("1", nil))
	require.EqualError(t, err, "consumer: handler panicked: index out of reach")
	var panicked *consumer.PanicError
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, "index out of reach", panicked.Value)
	require.Contains(t, string(panicked.Stack), "panicking", "the stack leads to the handler")
}

func TestRecovererUnwrapsAnErrorThatWasPanickedWith(t *testing.T) {
	t.Parallel()
	_, err := consumer.Recoverer(panicking(errBoom))(message.NewMessage("1", nil))
	require.ErrorIs(t, err, errBoom)

	_, err = consumer.Recoverer(panicking(nil))(message.NewMessage("1", nil))
	require.Error(t, err, "panic(nil) is a panic too")
}

func TestRecovererPassesResultsThrough(t *testing.T) {
	t.Parallel()
	produced, err := consumer.Recoverer((&failing{}).handle)(message.NewMessage("1", nil))
	require.NoError(t, err)
	require.Len(t, produced, 1)
}
