package consumer_test

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
)

// view is what a middleware standing somewhere in the chain sees of a handler that panics until the
// retries are used up.
type view struct {
	// Attempts is how often it was called.
	Attempts int
	// Correlated: the context has the event's metadata. Limited: the context has a deadline.
	Correlated, Limited bool
	// Outcome is how the call ended.
	Outcome string
}

// views runs a message through the chain with a probe before, between and behind its middlewares.
func views(chain []message.HandlerMiddleware) []view {
	seen := make([]view, len(chain)+1)
	probe := func(v *view) message.HandlerMiddleware {
		return func(next message.HandlerFunc) message.HandlerFunc {
			return func(msg *message.Message) (produced []*message.Message, err error) {
				v.Attempts++
				v.Correlated = bus.MetadataFrom(msg.Context()).CausationID != ""
				_, v.Limited = msg.Context().Deadline()
				v.Outcome = "panic"
				defer func() {
					if v.Outcome == "panic" {
						return
					}
					if err != nil {
						v.Outcome = "error"
					}
				}()
				produced, err = next(msg)
				v.Outcome = "done"
				return produced, err
			}
		}
	}
	probed := []message.HandlerMiddleware{probe(&seen[0])}
	for i, middleware := range chain {
		probed = append(probed, middleware, probe(&seen[i+1]))
	}
	func() {
		defer func() { _ = recover() }() // a wrong order may let the panic out
		_, _ = chained(panicking("always"), probed...)(envelope("x", "{}"))
	}()
	return seen
}

func TestChainStandsInTheOnlyRightOrder(t *testing.T) {
	t.Parallel()
	right := []view{
		{Attempts: 1, Outcome: "done"},
		{Attempts: 1, Outcome: "error"},                                  // behind DeadLetter, which settles the error
		{Attempts: 1, Outcome: "error", Correlated: true},                // behind Correlation, once a delivery
		{Attempts: 4, Outcome: "error", Correlated: true},                // behind Retry
		{Attempts: 4, Outcome: "error", Correlated: true, Limited: true}, // behind Timeout
		{Attempts: 4, Outcome: "panic", Correlated: true, Limited: true}, // behind Recoverer
	}
	chain := func() []message.HandlerMiddleware {
		config := quick(newOutlet())
		config.NoTracing = true // what only looks on may stand elsewhere, at the price of what it sees
		return mustChain(t, config)
	}
	require.Equal(t, right, views(chain()))

	for i := range chain() {
		for j := range i {
			swapped := chain()
			swapped[i], swapped[j] = swapped[j], swapped[i]
			require.NotEqual(t, right, views(swapped), "this test would not see %d and %d swapped", j, i)
		}
	}
}

func TestChainGivesEachAttemptATimeOfItsOwn(t *testing.T) {
	t.Parallel()
	out := newOutlet()
	config := quick(out)
	config.Timeout = 10 * time.Millisecond
	attempts := 0
	handler := func(msg *message.Message) ([]*message.Message, error) {
		if attempts++; attempts < 3 {
			return untilDone(msg)
		}
		require.NoError(t, msg.Context().Err())
		return nil, nil
	}
	_, err := chained(handler, mustChain(t, config)...)(message.NewMessage("1", nil))
	require.NoError(t, err)
	require.Equal(t, 3, attempts)
	require.Empty(t, out.all())
}

func TestChainSendsASlowMessageToTheDeadLetters(t *testing.T) {
	t.Parallel()
	out := newOutlet()
	config := quick(out)
	config.Timeout = time.Millisecond
	_, err := chained(untilDone, mustChain(t, config)...)(message.NewMessage("1", nil))
	require.NoError(t, err, "its own timeout is not taken for a shutdown")
	require.Len(t, out.all(), 1)
}
