package consumer_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/deadletter"
	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
)

// TestOnKafkaUnknownTypes: one topic carries three types of one key, and the consumer knows two of them.
func TestOnKafkaUnknownTypes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		shows   string
		policy  consumer.Unknown
		handled []string // by the consumer that does not know the type
		letters int
	}{
		{"skip", consumer.SkipUnknown, []string{"created", "closed"}, 0},
		{"dead letter", consumer.DeadLetterUnknown, []string{"created", "closed"}, 1},
		{"fail", consumer.FailUnknown, []string{"created"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.shows, func(t *testing.T) {
			t.Parallel()
			s, seen := newOnKafka(t), &journal{}
			unknown := s.publishTypes(t)
			known := []consumer.Route{
				consumer.On(userCreated, func(context.Context, consumer.Event[user]) error {
					seen.note("created")
					return nil
				}),
				consumer.OnType("closed", consumer.Domain(func(context.Context, envelopes.Domain, consumer.Meta) error {
					seen.note("closed")
					return nil
				})),
			}
			stop := s.consume(t, consumer.Dispatch(tt.policy, known...))
			for _, entry := range tt.handled {
				seen.await(t, entry)
			}
			letters := s.broker.WaitRecords(t, s.letters, tt.letters, patience)
			require.Len(t, letters, tt.letters)
			if tt.letters > 0 {
				reason, _ := find(t, letters, unknown).Header(deadletter.HeaderReason)
				require.Contains(t, reason, `no handler for this event type: "renamed"`)
				attempts, _ := letters[0].Header(deadletter.HeaderAttempts)
				require.Equal(t, "1", attempts, "no retry brings a handler")
			}
			stop()
			if tt.policy != consumer.FailUnknown {
				return
			}
			require.Zero(t, seen.count("closed"), "nothing overtakes what nobody knows")
			// The release that knows the type is deployed.
			s.consume(t, consumer.Dispatch(tt.policy, append(known, consumer.OnType("renamed",
				consumer.Custom(func(context.Context, json.RawMessage, consumer.Meta) error {
					seen.note("renamed")
					return nil
				})))...))
			seen.await(t, "renamed")
			seen.await(t, "closed")
			require.Equal(t, 1, seen.count("created"))
		})
	}
}

// publishTypes publishes a created, a renamed and a closed of one user to one topic, and returns the id of
// the renamed.
func (s *onKafka) publishTypes(t *testing.T) (renamed string) {
	t.Helper()
	_, err := userCreated.Publish(t.Context(), s.bus, "ada", user{})
	require.NoError(t, err)
	for _, eventType := range []string{"renamed", "closed"} {
		payload, err := envelopes.Encode(envelopes.Domain{
			Metadata:      envelopes.Metadata{EventID: eventType + "-1", Timestamp: time.Now(), ServiceName: "users", CorrelationID: "c"},
			AggregateType: "user", AggregateID: "ada", EventType: eventType, EventData: map[string]string{},
		})
		require.NoError(t, err)
		msg := message.NewMessage(eventType+"-1", payload)
		msg.Metadata.Set(delivery.KeyMetadata, "ada")
		require.NoError(t, s.publisher.Publish(s.topic, msg))
	}
	return "renamed-1"
}
