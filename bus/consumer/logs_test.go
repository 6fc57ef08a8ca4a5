package consumer_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
)

// TestLogsAndDeadLettersQuoteNoPayload: what the chain tells of a message is what its handler said, and nothing of
// what is in it.
func TestLogsAndDeadLettersQuoteNoPayload(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	valid := string(wire(t, "domain").Payload)
	event := func(data string) string {
		return `{"metadata":{"event_id":"1","timestamp":"2024-07-15T12:00:00Z","service_name":"s"},"event_type":"user_created",` +
			`"payload":{"aggregate_type":"user","aggregate_id":"` + secret + `","event_type":"user_created","event_data":` + data + `}}`
	}
	fails := func(err error) func(context.Context, consumer.Event[user]) error {
		return func(context.Context, consumer.Event[user]) error { return err }
	}
	for name, test := range map[string]struct {
		payload string
		handle  func(context.Context, consumer.Event[user]) error
		said    string
	}{
		"no JSON":                  {`{"password": "` + secret, fails(nil), "dead letters"},
		"no envelope":              {`{"password": "` + secret + `"}`, fails(nil), "dead letters"},
		"data of another type":     {event(`{"email": {"of": "` + secret + `"}}`), fails(nil), "dead letters"},
		"data that is no object":   {event(`"` + secret + `"`), fails(nil), "dead letters"},
		"a handler that fails":     {valid, fails(errBoom), "trying again"},
		"a handler that drops":     {valid, fails(consumer.Drop(errBoom)), "dropped"},
		"a handler that panics":    {valid, func(context.Context, consumer.Event[user]) error { panic("boom") }, "dead letters"},
		"a handler that gives up":  {valid, fails(consumer.Permanent(errBoom)), "dead letters"},
		"an outage of the handler": {valid, fails(consumer.Outage(errBoom)), "trying again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			letters := newOutlet()
			config := quick(letters)
			config.Logger = watermill.NewSlogLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug - 4})))
			typed := consumer.Handle(userCreated, test.handle)
			payload := strings.ReplaceAll(test.payload, "user@example.com", secret)
			msg := message.NewMessage("1", []byte(payload))
			_, err := chained(func(msg *message.Message) ([]*message.Message, error) { return nil, typed(msg) }, mustChain(t, config)...)(msg)
			if err != nil {
				require.NotContains(t, err.Error(), secret)
			}
			require.Contains(t, log.String(), test.said)
			require.NotContains(t, log.String(), secret)
			for _, letter := range letters.all() {
				for header, value := range letter.Metadata {
					require.NotContains(t, value, secret, header)
				}
			}
		})
	}
}
