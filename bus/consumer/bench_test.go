package consumer_test

import (
	"context"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
)

// BenchmarkChain sets the whole chain and a typed handler beside a bare handler that decodes the same
// event itself, and one that looks at nothing, in the same run.
func BenchmarkChain(b *testing.B) {
	bare := func(msg *message.Message) ([]*message.Message, error) { return nil, nil }
	decoding := func(msg *message.Message) ([]*message.Message, error) {
		envelope, err := envelopes.Decode(msg.Payload)
		if err != nil {
			return nil, err
		}
		_, err = envelopes.DataAs[user](mustDomain(envelope))
		return nil, err
	}
	typed := consumer.Handle(userCreated, func(context.Context, consumer.Event[user]) error { return nil })
	chain := mustChain(b, consumer.Config{DeadLetter: consumer.DeadLetterConfig{Publisher: newOutlet()}})
	chainedTyped := chained(func(msg *message.Message) ([]*message.Message, error) { return nil, typed(msg) }, chain...)

	for _, bench := range []struct {
		name    string
		handler message.HandlerFunc
	}{
		{"bare", bare},
		{"bare+decode", decoding},
		{"chain+typed", chainedTyped},
	} {
		b.Run(bench.name, func(b *testing.B) {
			payload := wire(b, "domain").Payload
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bench.handler(message.NewMessage("1", payload)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func mustDomain(envelope envelopes.Envelope) envelopes.Domain {
	event, err := envelope.Domain()
	if err != nil {
		panic(err)
	}
	return event
}

// The chain's own allocations must not grow unseen: a consumer pays them for every message.
func TestChainAllocations(t *testing.T) {
	nothing := func(*message.Message) ([]*message.Message, error) { return nil, nil }
	handler := chained(nothing, mustChain(t, quick(newOutlet()))...)
	msg := wire(t, "domain")
	decode := testing.AllocsPerRun(200, func() { _, _ = envelopes.Decode(msg.Payload) })
	whole := testing.AllocsPerRun(200, func() {
		msg.SetContext(t.Context())
		_, _ = handler(msg)
	})
	t.Logf("decoding %.0f allocations, chain and decoding %.0f", decode, whole)
	require.LessOrEqual(t, whole-decode, 25.0)
}
