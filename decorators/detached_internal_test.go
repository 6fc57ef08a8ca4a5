package decorators

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
)

type key struct{}

type nowhere struct{}

func (nowhere) Publish(string, ...*message.Message) error { return nil }
func (nowhere) Close() error                              { return nil }

// detachedFrom is a detached context of a call whose own has ended.
func detachedFrom(t *testing.T) *detached {
	t.Helper()
	b, err := bus.New(bus.Config{Service: "user-service", Publisher: nowhere{}})
	require.NoError(t, err)
	d, err := New(Config{Bus: b, Timeout: time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	cancel()
	return d.detached(ctx)
}

func TestADetachedContextEndsByItself(t *testing.T) {
	t.Parallel()
	for name, arm := range map[string]bool{"waited for": true, "only asked": false} {
		synctest.Test(t, func(t *testing.T) {
			ctx := detachedFrom(t)
			defer ctx.release()
			require.NoError(t, ctx.Err(), name)
			require.Equal(t, "value", ctx.Value(key{}))
			deadline, has := ctx.Deadline()
			require.True(t, has)
			require.Equal(t, time.Now().Add(time.Second), deadline)
			if arm {
				<-ctx.Done()
				require.Equal(t, time.Now(), deadline)
			} else {
				time.Sleep(time.Second + 1)
			}
			require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded, name)
			require.Equal(t, "value", ctx.Value(key{}))
		})
	}
}

func TestWhatIsDerivedFromADetachedContextEndsWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := detachedFrom(t)
		derived, cancel := context.WithCancel(context.WithValue(ctx, key{}, "inner"))
		defer cancel()
		require.NoError(t, derived.Err(), "not with the call's")
		ctx.release()
		synctest.Wait()
		require.ErrorIs(t, derived.Err(), context.Canceled)

		late, cancel := context.WithTimeout(detachedFrom(t), time.Hour)
		defer cancel()
		<-late.Done()
		require.ErrorIs(t, late.Err(), context.DeadlineExceeded)
	})
}
