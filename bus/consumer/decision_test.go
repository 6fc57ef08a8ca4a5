package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
)

// errDriver stands for an error of a library that nobody can wrap where it is made.
var errDriver = errors.New("driver: 23505")

func TestDecisions(t *testing.T) {
	t.Parallel()
	always := func(decision consumer.Decision) func(error) consumer.Decision {
		return func(error) consumer.Decision { return decision }
	}
	const (
		acked  = iota // and no copy
		letter        // acked, with a copy
		kept          // nacked
	)
	tests := []struct {
		shows    string
		err      error
		classify func(error) consumer.Decision
		runs     int
		fate     int
	}{
		{"an error is tried again, then set aside", errBoom, nil, 4, letter},
		{"permanent is set aside at once", consumer.Permanent(errBoom), nil, 1, letter},
		{"an outage is tried again, then kept", consumer.Outage(errBoom), nil, 4, kept},
		{"a drop is acked at once, without a copy", fmt.Errorf("order 1: %w", consumer.Drop(errBoom)), nil, 1, acked},
		{"a drop overrules what it wraps", consumer.Drop(consumer.Permanent(errBoom)), nil, 1, acked},
		{"and what wraps it", consumer.Outage(consumer.Drop(errBoom)), nil, 1, acked},
		{"undecodable is set aside at once", envelopes.ErrInvalid, nil, 1, letter},

		{"classified as a dead letter", errDriver, always(consumer.DecideDeadLetter), 1, letter},
		{"classified as a drop", errDriver, always(consumer.DecideDrop), 1, acked},
		{"classified as to be kept", errDriver, always(consumer.DecideKeep), 4, kept},
		{"classified as to be tried again", errDriver, always(consumer.DecideRetry), 4, letter},
		{"classified as none of its business", errDriver, always(consumer.DecideByDefault), 4, letter},
		{"a library's own cancellation may be the message's", context.Canceled, always(consumer.DecideRetry), 4, letter},
		{"and what cannot be decoded may yet be", envelopes.ErrInvalid, always(consumer.DecideRetry), 4, letter},
		{"a mark is not up for classification", consumer.Permanent(errDriver), always(consumer.DecideDrop), 1, letter},
	}
	for _, tt := range tests {
		t.Run(tt.shows, func(t *testing.T) {
			t.Parallel()
			out := newOutlet()
			config := quick(out)
			config.Retry.Classify = tt.classify
			handler := &failing{errs: repeat(tt.err, 10)}
			_, err := chained(handler.handle, mustChain(t, config)...)(message.NewMessage("1", nil))
			require.Len(t, handler.runs, tt.runs)
			switch tt.fate {
			case kept:
				require.ErrorIs(t, err, tt.err)
				require.EqualError(t, err, tt.err.Error(), "the text stays")
				require.Empty(t, out.all())
			case letter:
				require.NoError(t, err)
				require.Len(t, out.all(), 1)
			default:
				require.NoError(t, err)
				require.Empty(t, out.all())
			}
		})
	}
}

func TestADropAtShutdownIsKept(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	out := newOutlet()
	handler := func(*message.Message) ([]*message.Message, error) {
		cancel()
		return nil, consumer.Drop(errBoom)
	}
	_, err := chained(handler, mustChain(t, quick(out))...)(message.NewMessageWithContext(ctx, "1", nil))
	require.ErrorIs(t, err, context.Canceled, "what a cancelled handler says is not to be relied on")
}

func TestMarksOfNilAreNil(t *testing.T) {
	t.Parallel()
	for _, mark := range []func(error) error{consumer.Permanent, consumer.Outage, consumer.Drop} {
		require.NoError(t, mark(nil))
	}
	names := map[string]bool{}
	for decision := consumer.DecideByDefault; decision <= consumer.DecideDrop; decision++ {
		names[decision.String()] = true
	}
	require.Len(t, names, 5)
}

// A classified error is decided once: DeadLetter, further out, goes by what Retry made of it.
func TestClassifyIsAskedOnceAnAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		config := quick(newOutlet())
		config.Retry = consumer.RetryConfig{MaxRetries: 2, InitialInterval: time.Second, Classify: func(err error) consumer.Decision {
			require.ErrorIs(t, err, errDriver)
			asked++
			return consumer.DecideRetry
		}}
		handler := &failing{errs: repeat(errDriver, 10)}
		_, err := chained(handler.handle, mustChain(t, config)...)(message.NewMessage("1", nil))
		require.NoError(t, err)
		require.Equal(t, 3, asked)
	})
}
