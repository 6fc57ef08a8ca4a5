package decorators_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

func TestPublisherValidation(t *testing.T) {
	t.Parallel()
	good := func() *message.Message { return message.NewMessage("m-1", []byte(`{}`)) }
	k := &keeper{}
	strict := decorated(t, k, decorators.PublisherValidation(decorators.PublisherValidationConfig{MaxBytes: 1000, Envelopes: true}))
	err := strict.Publish("or ders", nil, message.NewMessage("", []byte(strings.Repeat("hunter2", 200))), good())
	require.ErrorIs(t, err, decorators.ErrRefused)
	require.ErrorIs(t, err, topics.ErrInvalid)
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	for _, want := range []string{
		`' ' at position 3`, "message 1 of 3: it is nil: make it with message.NewMessage",
		"message 2 of 3: its UUID is empty", "give it one", "message 2 of 3: its record takes 14", "1000 are allowed: publish a reference",
		"message 3 of 3: its payload is no envelope: publish it through a Bus",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hunter2")
	require.Empty(t, k.calls, "nothing is published")

	loose := decorated(t, k, decorators.PublisherValidation(decorators.PublisherValidationConfig{MaxBytes: -1, AnyTopic: true}))
	require.NoError(t, loose.Publish("orders/#", message.NewMessage("m-1", make([]byte, 2*decorators.DefaultMaxBytes))))
	usual := decorated(t, k, decorators.PublisherValidation(decorators.PublisherValidationConfig{}))
	require.NoError(t, usual.Publish("orders", good()))
	require.ErrorIs(t, usual.Publish("orders", message.NewMessage("m-1", make([]byte, decorators.DefaultMaxBytes))), decorators.ErrRefused)
}

// TestTheBrokerDrawsTheLineWhereValidationDoes finds the largest message that the decorator lets pass, and
// asks a broker about it and the next.
func TestTheBrokerDrawsTheLineWhereValidationDoes(t *testing.T) {
	t.Parallel()
	const limit = 3000
	broker := bustest.Kafka(t)
	broker.CreateTopic(t, "orders", 1, map[string]string{"max.message.bytes": fmt.Sprint(limit)})
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Sender: kafka.SenderConfig{Config: kafka.Config{Brokers: broker.Brokers()}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, publisher.Close()) })
	validated := decorated(t, &keeper{}, decorators.PublisherValidation(decorators.PublisherValidationConfig{MaxBytes: limit}))
	sized := func(n int) *message.Message {
		msg := message.NewMessage("m-1", make([]byte, n))
		msg.Metadata = message.Metadata{delivery.KeyMetadata: strings.Repeat("k", 70), "header": strings.Repeat("h", 200)}
		return msg
	}
	most := 0
	for validated.Publish("orders", sized(most+1)) == nil {
		most++
	}
	require.NoError(t, publisher.Publish("orders", sized(most)))
	require.Error(t, publisher.Publish("orders", sized(most+1)))
}
