package consumer_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
)

func TestOpenGivesTheMessageItsChain(t *testing.T) {
	t.Parallel()
	msg := sample("registered")
	envelope, err := consumer.Open(msg)
	require.NoError(t, err)
	require.Equal(t, "registered", envelope.EventType)
	require.Equal(t, "request-1", bus.MetadataFrom(msg.Context()).CorrelationID)
	opened := msg.Context()
	_, err = consumer.Open(msg)
	require.NoError(t, err)
	require.Equal(t, opened, msg.Context(), "decoded once")

	junk := message.NewMessage("7", []byte("{"))
	_, err = consumer.Open(junk)
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.Equal(t, "7", bus.MetadataFrom(junk.Context()).CorrelationID, "what its headers say")
}
