package consumer_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/bus/delivery"
)

// slowOutlet takes as long for a dead letter as it is given.
type slowOutlet struct{}

func (slowOutlet) Publish(_ string, messages ...*message.Message) error {
	<-messages[0].Context().Done()
	return messages[0].Context().Err()
}

func (slowOutlet) Close() error { return nil }

// longest is how long one delivery takes in the worst case: every attempt and the dead letter run into
// their limits.
func longest(t *testing.T, config consumer.Config, group time.Duration) (took time.Duration, attempts int) {
	t.Helper()
	config.DeadLetter.Publisher = slowOutlet{}
	chain := mustChain(t, config)
	synctest.Test(t, func(t *testing.T) {
		msg := message.NewMessage("1", nil)
		if group > 0 {
			msg.SetContext(delivery.WithOrigin(t.Context(), delivery.Origin{Topic: "t", RebalanceTimeout: group}))
		}
		began := time.Now()
		_, err := chained(func(msg *message.Message) ([]*message.Message, error) {
			attempts++
			return untilDone(msg)
		}, chain...)(msg)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		took = time.Since(began)
	})
	return took, attempts
}

func TestADeliveryNeverTakesLongerThanItsGroupWaits(t *testing.T) {
	t.Parallel()
	many := consumer.RetryConfig{MaxRetries: 10_000, InitialInterval: time.Millisecond, MaxInterval: time.Second}
	endless := many
	endless.MaxElapsed = -1
	tests := []struct {
		shows  string
		config consumer.Config
		group  time.Duration // as the subscriber says
		limit  time.Duration
	}{
		{"by default", consumer.Config{Retry: many}, 0, consumer.DefaultRebalanceTimeout},
		{"as the subscriber says too", consumer.Config{Retry: many}, time.Minute, time.Minute},
		{"without a limit of its own", consumer.Config{Retry: endless}, 0, consumer.DefaultRebalanceTimeout},
		{"in a patient group", consumer.Config{Retry: endless, RebalanceTimeout: time.Hour}, time.Hour, time.Hour},
		{"in a group that waits less than was configured", consumer.Config{Retry: many}, 3 * time.Second, 3 * time.Second},
		{"even without limits", consumer.Config{Retry: endless}, time.Second, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.shows, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				took, attempts := longest(t, tt.config, tt.group)
				require.Less(t, took, tt.limit)
				require.Greater(t, took, tt.limit/3, "it uses the time there is")
				require.Greater(t, attempts, 1)
			}
		})
	}
}

func TestAGroupThatWaitsLongerChangesNothing(t *testing.T) {
	t.Parallel()
	config := consumer.Config{
		Retry:      consumer.RetryConfig{MaxRetries: -1},
		Timeout:    2 * time.Second,
		DeadLetter: consumer.DeadLetterConfig{PublishTimeout: time.Second},
	}
	took, attempts := longest(t, config, 5*time.Minute)
	require.Equal(t, 3*time.Second, took)
	require.Equal(t, 1, attempts)
}

func TestAConfigurationThatOutlastsTheGroupIsAFault(t *testing.T) {
	t.Parallel()
	tests := []struct {
		shows  string
		config consumer.Config
		fault  string
	}{
		{"too long altogether", consumer.Config{Retry: consumer.RetryConfig{MaxElapsed: 45 * time.Second}}, "a message may take 1m10s (Retry.MaxElapsed 45s, Timeout 15s, DeadLetter.PublishTimeout 10s)"},
		{"exactly as long", consumer.Config{Timeout: 20 * time.Second}, "a message may take 1m0s"},
		{"an attempt by itself", consumer.Config{Timeout: time.Hour, Retry: consumer.RetryConfig{MaxRetries: -1}}, "Timeout 1h0m0s"},
		{"an attempt by itself, retried as long as can be", consumer.Config{Timeout: time.Hour, Retry: consumer.RetryConfig{MaxElapsed: -1}}, "Timeout 1h0m0s"},
		{"no limit to an attempt", consumer.Config{Timeout: -1}, "Timeout is negative"},
		{"a group that waits little", consumer.Config{RebalanceTimeout: 10 * time.Second}, "RebalanceTimeout (10s)"},
		{"told of a patient group", consumer.Config{Timeout: 2 * time.Minute, RebalanceTimeout: 5 * time.Minute}, ""},
		{"without a group", consumer.Config{Timeout: -1, RebalanceTimeout: -1, Retry: consumer.RetryConfig{MaxElapsed: -1}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.shows, func(t *testing.T) {
			t.Parallel()
			tt.config.DeadLetter.Publisher = newOutlet()
			_, err := consumer.Chain(tt.config)
			if tt.fault == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.fault)
		})
	}
}
