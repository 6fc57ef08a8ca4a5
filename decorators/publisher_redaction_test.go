package decorators_test

import (
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes/redact"
)

func TestPublisherRedaction(t *testing.T) {
	t.Parallel()
	k := &keeper{}
	standard := decorated(t, k, decorators.PublisherRedaction(decorators.PublisherRedactionConfig{}))
	long := strings.Repeat("x", 20<<10)
	msg := message.NewMessage("m-1", []byte(`{"metadata":{"trace_id":"t"},"payload":{"args":[{"api_key":1,"note":"`+long+`"}]}}`))
	msg.Metadata.Set("X-Api-Key", "hunter2")
	require.NoError(t, standard.Publish("orders", msg, message.NewMessage("m-2", nil)))
	require.JSONEq(t, `{"metadata":{"trace_id":"t"},"payload":{"args":[{"api_key":"[redacted]","note":"`+long+`"}]}}`, string(k.calls[0][0].Payload))
	require.Equal(t, message.Metadata{"X-Api-Key": "[redacted]"}, k.calls[0][0].Metadata)
	require.Empty(t, k.calls[0][1].Payload, "a tombstone passes")

	clean := message.NewMessage("m-3", []byte(`{"user":"ada"}`))
	require.NoError(t, standard.Publish("orders", clean))
	require.Same(t, clean, k.calls[1][0])

	err := standard.Publish("orders", clean, message.NewMessage("m-4", []byte("password=hunter2")))
	require.ErrorIs(t, err, decorators.ErrNotJSON)
	require.ErrorContains(t, err, `message 2 of 2 for orders, "m-4"`)
	require.ErrorContains(t, err, "set PublisherRedactionConfig.NotJSON to PassNotJSON")
	require.NotContains(t, err.Error(), "hunter2")
	require.Len(t, k.calls, 2, "nothing of the call is published")

	passing := decorated(t, k, decorators.PublisherRedaction(decorators.PublisherRedactionConfig{NotJSON: decorators.PassNotJSON}))
	protobuf := message.NewMessage("m-5", []byte{0x0a, 0x03, 'a', 'd', 'a'})
	protobuf.Metadata.Set("authorization", "Bearer hunter2")
	require.NoError(t, passing.Publish("orders", protobuf))
	require.Equal(t, protobuf.Payload, k.calls[2][0].Payload)
	require.Equal(t, "[redacted]", k.calls[2][0].Metadata["authorization"], "a name says what its bytes do not")

	none := decorated(t, k, decorators.PublisherRedaction(decorators.PublisherRedactionConfig{Redactor: redact.None()}))
	require.NoError(t, none.Publish("orders", msg))
	require.Same(t, msg, k.calls[3][0])

	_, err = decorators.PublisherRedaction(decorators.PublisherRedactionConfig{NotJSON: 7})(k)
	require.ErrorContains(t, err, "NotJSON is 7: use RefuseNotJSON or PassNotJSON")
}
