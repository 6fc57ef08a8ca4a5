package pace_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/forwarder/internal/pace"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 5 * time.Second, 31: 5 * time.Second, 1 << 30: 5 * time.Second} {
		for range 100 {
			got := pace.Backoff(time.Second, 5*time.Second, attempt)
			require.LessOrEqual(t, got, want, "attempt %d", attempt)
			require.GreaterOrEqual(t, got, want*4/5, "attempt %d", attempt)
		}
	}
	require.Zero(t, pace.Backoff(0, 0, 1))
}

func TestJitter(t *testing.T) {
	t.Parallel()
	for range 100 {
		got := pace.Jitter(time.Second)
		require.LessOrEqual(t, got, time.Second)
		require.GreaterOrEqual(t, got, time.Second*3/4)
	}
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		require.True(t, pace.Sleep(t.Context(), time.Minute))
		require.Equal(t, time.Minute, time.Since(start))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.False(t, pace.Sleep(ctx, time.Minute))
		require.Equal(t, time.Minute+time.Second, time.Since(start))
	})
}
