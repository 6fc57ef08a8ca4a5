package deadline_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/internal/deadline"
)

type key struct{}

var errLate = errors.New("late")

func TestItEndsByItself(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]func(context.Context){
		"waited for": func(ctx context.Context) { <-ctx.Done() },
		"only asked": func(context.Context) { <-time.After(time.Second) },
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx := deadline.After(context.WithValue(t.Context(), key{}, "value"), time.Second, errLate)
			defer ctx.Release()
			require.NoError(t, ctx.Err(), name)
			require.Equal(t, "value", ctx.Value(key{}))
			at, has := ctx.Deadline()
			require.True(t, has)
			require.Equal(t, time.Now().Add(time.Second), at)
			wait(ctx)
			require.Equal(t, at, time.Now())
			require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded, name)
			require.Equal(t, errLate, context.Cause(ctx))
			require.Equal(t, "value", ctx.Value(key{}))
			<-ctx.Done()
			ctx.Release()
			require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded, "what has ended stays so")
		})
	}
}

func TestItEndsWithItsParent(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(context.Context){
		"asked before": func(ctx context.Context) { ctx.Done() },
		"asked after":  func(context.Context) {},
	} {
		synctest.Test(t, func(t *testing.T) {
			parent, cancel := context.WithCancelCause(t.Context())
			ctx := deadline.After(parent, time.Second, errLate)
			defer ctx.Release()
			ask(ctx)
			cancel(errors.ErrUnsupported)
			require.ErrorIs(t, ctx.Err(), context.Canceled, name)
			require.ErrorIs(t, context.Cause(ctx), errors.ErrUnsupported, name)
			<-ctx.Done()
		})
	}
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		ctx := deadline.After(parent, time.Second, errLate)
		defer ctx.Release()
		<-ctx.Done()
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
		require.Equal(t, context.DeadlineExceeded, context.Cause(ctx), "the parent's deadline is not this one's")
	})
}

func TestReleaseEndsIt(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(context.Context){
		"asked before": func(ctx context.Context) { ctx.Done() },
		"asked after":  func(context.Context) {},
	} {
		ctx := deadline.After(t.Context(), time.Hour, errLate)
		ask(ctx)
		ctx.Release()
		require.ErrorIs(t, ctx.Err(), context.Canceled, name)
		<-ctx.Done()
	}
}

func TestWhatIsDerivedEndsWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := deadline.After(t.Context(), time.Second, errLate)
		derived, cancel := context.WithCancel(context.WithValue(ctx, key{}, "inner"))
		defer cancel()
		require.NoError(t, derived.Err())
		ctx.Release()
		synctest.Wait()
		require.ErrorIs(t, derived.Err(), context.Canceled)

		early := deadline.After(t.Context(), time.Second, errLate)
		defer early.Release()
		late, cancel := context.WithTimeout(early, time.Hour)
		defer cancel()
		<-late.Done()
		require.ErrorIs(t, late.Err(), context.DeadlineExceeded)
		require.Equal(t, errLate, context.Cause(late))
	})
}

func TestManyMayAskAtOnce(t *testing.T) {
	t.Parallel()
	for range 100 {
		ctx := deadline.After(t.Context(), time.Hour, nil)
		var asking sync.WaitGroup
		for range 4 {
			asking.Go(func() { <-ctx.Done() })
		}
		asking.Go(func() { _ = ctx.Err() })
		asking.Go(ctx.Release)
		asking.Wait()
		require.ErrorIs(t, ctx.Err(), context.Canceled)
	}
}

func TestItCostsOneAllocation(t *testing.T) {
	parent, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		ctx := deadline.After(parent, time.Hour, errLate)
		if ctx.Err() != nil {
			t.Error("it has not ended")
		}
		ctx.Release()
	}), 1.0)
}

func BenchmarkAfter(b *testing.B) {
	parent, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.Run("deadline", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ctx := deadline.After(parent, time.Hour, errLate)
			_ = ctx.Err()
			ctx.Release()
		}
	})
	b.Run("context.WithTimeoutCause", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ctx, release := context.WithTimeoutCause(parent, time.Hour, errLate)
			_ = ctx.Err()
			release()
		}
	})
}
