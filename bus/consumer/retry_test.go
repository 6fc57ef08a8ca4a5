package consumer_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
)

// failing is a handler that fails as often as there are errors, then succeeds, and notes when it ran.
type failing struct {
	errs []error
	runs []time.Time
}

func (f *failing) handle(*message.Message) ([]*message.Message, error) {
	f.runs = append(f.runs, time.Now())
	if n := len(f.runs) - 1; n < len(f.errs) {
		return nil, f.errs[n]
	}
	return message.Messages{message.NewMessage("produced", nil)}, nil
}

func (f *failing) waits() []time.Duration {
	var waits []time.Duration
	for i := 1; i < len(f.runs); i++ {
		waits = append(waits, f.runs[i].Sub(f.runs[i-1]))
	}
	return waits
}

func repeat(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func TestRetryWaitsGrowWithJitterUpToTheCap(t *testing.T) {
	t.Parallel()
	distinct := map[time.Duration]bool{}
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			handler := &failing{errs: repeat(errBoom, 5)}
			retry := mustRetry(t, consumer.RetryConfig{
				MaxRetries: 5, InitialInterval: time.Second, MaxInterval: 5 * time.Second, Multiplier: 2, MaxElapsed: time.Hour,
			})
			produced, err := retry(handler.handle)(message.NewMessage("1", nil))
			require.NoError(t, err)
			require.Len(t, produced, 1, "the successful attempt's messages")
			waits := handler.waits()
			require.Len(t, waits, 5)
			for i, seconds := range []float64{1, 2, 4, 5, 5} {
				nominal := time.Duration(seconds * float64(time.Second))
				require.GreaterOrEqual(t, waits[i], nominal/2, "wait %d", i)
				require.LessOrEqual(t, waits[i], nominal*3/2, "wait %d", i)
			}
			distinct[waits[0]] = true
		})
	}
	require.Greater(t, len(distinct), 15, "messages that failed together must not come back together")
}

func TestRetryGivesUp(t *testing.T) {
	t.Parallel()
	last := errors.New("the last one")
	tests := []struct {
		shows  string
		config consumer.RetryConfig
		errs   []error
		runs   int
	}{
		{"after MaxRetries", consumer.RetryConfig{MaxRetries: 2}, []error{errBoom, errBoom, last, errBoom}, 3},
		{"at once with none", consumer.RetryConfig{MaxRetries: -1}, []error{last}, 1},
		{"after 8 by default", consumer.RetryConfig{MaxElapsed: -1}, append(repeat(errBoom, 8), last, errBoom), 9},
		{
			"before an attempt would begin after MaxElapsed",
			consumer.RetryConfig{InitialInterval: time.Second, Multiplier: 1, MaxElapsed: 1400 * time.Millisecond, MaxRetries: 100},
			[]error{errBoom, last, last, last},
			0, // 1 to 3 runs, by jitter
		},
		{"at a permanent error", consumer.RetryConfig{}, []error{errBoom, consumer.Permanent(last)}, 2},
		{"at an undecodable message", consumer.RetryConfig{}, []error{errors.Join(envelopes.ErrInvalid, last)}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.shows, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				handler := &failing{errs: tt.errs}
				began := time.Now()
				_, err := mustRetry(t, tt.config)(handler.handle)(message.NewMessage("1", nil))
				if tt.runs == 0 {
					require.Error(t, err)
					require.LessOrEqual(t, handler.runs[len(handler.runs)-1].Sub(began), tt.config.MaxElapsed)
					require.Less(t, len(handler.runs), 4)
					return
				}
				require.ErrorIs(t, err, last)
				require.Len(t, handler.runs, tt.runs)
			})
		})
	}
}

func TestRetryDefaultsStayBelowTheRebalanceTimeout(t *testing.T) {
	t.Parallel()
	const rebalanceTimeout = 60 * time.Second // of sarama and Java's client
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			slow := func(msg *message.Message) ([]*message.Message, error) {
				<-msg.Context().Done()
				return nil, msg.Context().Err()
			}
			retry := mustRetry(t, consumer.RetryConfig{MaxRetries: 1000})
			_, err := retry(consumer.Timeout(0)(slow))(message.NewMessage("1", nil))
			require.ErrorIs(t, err, consumer.ErrTimeout)
			require.Less(t, time.Since(began), rebalanceTimeout)
		})
	}
}

func TestRetryStopsWithTheMessagesContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		msg := message.NewMessageWithContext(ctx, "1", nil)
		time.AfterFunc(time.Second, func() { cancel(errors.New("partition taken away")) })
		handler := &failing{errs: repeat(errBoom, 10)}
		began := time.Now()
		_, err := mustRetry(t, consumer.RetryConfig{InitialInterval: time.Minute, MaxInterval: time.Hour, MaxElapsed: -1})(handler.handle)(msg)
		require.ErrorIs(t, err, context.Canceled, "whatever the cause says")
		require.ErrorIs(t, err, errBoom)
		require.Equal(t, time.Second, time.Since(began), "it did not wait the minute out")
		require.Len(t, handler.runs, 1)
	})
}

func TestRetryTellsAShutdownFromTheHandlersError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	handler := func(*message.Message) ([]*message.Message, error) {
		cancel()
		return nil, errBoom // as drivers do, whose connection was closed
	}
	_, err := mustRetry(t, quick(nil).Retry)(handler)(message.NewMessageWithContext(ctx, "1", nil))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errBoom)
}

func TestRetryGivesEachAttemptTheFirstContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	var attempts []int
	handler := func(msg *message.Message) ([]*message.Message, error) {
		require.NoError(t, msg.Context().Err())
		require.Nil(t, msg.Context().Value(key{}), "left by the attempt before")
		attempts = append(attempts, consumer.Attempt(msg.Context()))
		ctx, cancel := context.WithCancel(context.WithValue(msg.Context(), key{}, "left"))
		cancel()
		msg.SetContext(ctx)
		if len(attempts) < 3 {
			return nil, errBoom
		}
		return nil, nil
	}
	msg := message.NewMessage("1", nil)
	_, err := mustRetry(t, quick(nil).Retry)(handler)(msg)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 3}, attempts)
	require.NoError(t, msg.Context().Err(), "nor is it left to whoever is further out")
	require.Equal(t, 1, consumer.Attempt(t.Context()))
}

func TestRetryIntervalsDoNotOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		handler := &failing{errs: repeat(errBoom, 40)}
		retry := mustRetry(t, consumer.RetryConfig{
			MaxRetries: 40, InitialInterval: time.Hour, MaxInterval: 2 * time.Hour, Multiplier: math.MaxFloat64, MaxElapsed: -1,
		})
		_, err := retry(handler.handle)(message.NewMessage("1", nil))
		require.NoError(t, err)
		for _, wait := range handler.waits()[1:] {
			require.GreaterOrEqual(t, wait, time.Hour)
			require.LessOrEqual(t, wait, 3*time.Hour)
		}
	})
}

func TestRetryConfigReportsAllFaults(t *testing.T) {
	t.Parallel()
	_, err := consumer.Retry(consumer.RetryConfig{InitialInterval: -1, MaxInterval: -1, Multiplier: 0.5})
	require.ErrorContains(t, err, "InitialInterval")
	require.ErrorContains(t, err, "MaxInterval")
	require.ErrorContains(t, err, "Multiplier is 0.5: must be 1 or more")
	_, err = consumer.Retry(consumer.RetryConfig{Multiplier: math.NaN()})
	require.ErrorContains(t, err, "Multiplier")
}
