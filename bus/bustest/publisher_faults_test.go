package bustest_test

import (
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

func TestPublisherFaults(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, test := range []struct {
		name   string
		faults []bustest.PublisherFault
		// fails and arrived are, for four calls of two messages each on a, b, a and b, whether the call fails and how many
		// messages have arrived after it.
		fails   [4]bool
		arrived [4]int
	}{
		{"none", nil, [4]bool{}, [4]int{2, 4, 6, 8}},
		{"always", []bustest.PublisherFault{bustest.FailWith(broken)}, [4]bool{true, true, true, true}, [4]int{}},
		{"the second call", []bustest.PublisherFault{bustest.Nth(2, bustest.FailWith(broken))}, [4]bool{1: true}, [4]int{2, 2, 4, 6}},
		{"the first three", []bustest.PublisherFault{bustest.First(3, bustest.FailWith(broken))}, [4]bool{true, true, true, false}, [4]int{3: 2}},
		{"a topic", []bustest.PublisherFault{bustest.OnTopic("b", bustest.FailWith(broken))}, [4]bool{1: true, 3: true}, [4]int{2, 2, 4, 4}},
		{"a topic's second call", []bustest.PublisherFault{bustest.OnTopic("b", bustest.Nth(2, bustest.FailWith(broken)))}, [4]bool{3: true}, [4]int{2, 4, 6, 6}},
		{"the outcome unknown", []bustest.PublisherFault{bustest.Nth(1, bustest.LoseAnswer(broken))}, [4]bool{true}, [4]int{2, 4, 6, 8}},
		{"half a call", []bustest.PublisherFault{bustest.Nth(1, bustest.FailFrom(1, broken))}, [4]bool{true}, [4]int{1, 3, 5, 7}},
		{"none of a call", []bustest.PublisherFault{bustest.FailFrom(0, broken)}, [4]bool{true, true, true, true}, [4]int{}},
		{"more than there are", []bustest.PublisherFault{bustest.FailFrom(2, broken)}, [4]bool{}, [4]int{2, 4, 6, 8}},
		{
			"two, the outer one first",
			[]bustest.PublisherFault{bustest.Nth(1, bustest.FailWith(broken)), bustest.Nth(1, bustest.LoseAnswer(broken))},
			[4]bool{true, true},
			[4]int{0, 2, 4, 6},
		},
		{"a failure behind a lost answer", []bustest.PublisherFault{bustest.LoseAnswer(errors.New("other")), bustest.FailWith(broken)}, [4]bool{true, true, true, true}, [4]int{}},
		{"a failure behind half a call", []bustest.PublisherFault{bustest.FailFrom(1, errors.New("other")), bustest.FailWith(broken)}, [4]bool{true, true, true, true}, [4]int{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rec := bustest.NewRecorder()
			publisher := bustest.WithFaults(rec, test.faults...)
			for i, topic := range []string{"a", "b", "a", "b"} {
				err := publisher.Publish(topic, message.NewMessage("1", nil), message.NewMessage("2", nil))
				if test.fails[i] {
					require.ErrorIs(t, err, broken, "call %d", i+1)
				} else {
					require.NoError(t, err, "call %d", i+1)
				}
				require.Len(t, rec.Events(), test.arrived[i], "call %d", i+1)
			}
			require.NoError(t, publisher.Close())
			require.ErrorIs(t, rec.Publish("a"), bustest.ErrClosed)
		})
	}
}

func TestHoldKeepsACallUntilItIsReleased(t *testing.T) {
	t.Parallel()
	rec := bustest.NewRecorder()
	arrived, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	publisher := bustest.WithFaults(rec, bustest.OnTopic("slow", bustest.Hold(arrived, release)))
	for range 2 {
		go func() { done <- publisher.Publish("slow", message.NewMessage("1", nil)) }()
		<-arrived
	}
	require.NoError(t, publisher.Publish("quick", message.NewMessage("2", nil)))
	require.Equal(t, []string{"quick"}, rec.Topics())
	release <- struct{}{}
	require.NoError(t, <-done)
	require.Len(t, rec.Messages("slow"), 1)
	close(release)
	require.NoError(t, <-done)
	require.Len(t, rec.Messages("slow"), 2)
}

// TestAFaultCountsForEachPublisher also when it is given to two.
func TestAFaultCountsForEachPublisher(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	second := bustest.Nth(2, bustest.FailWith(broken))
	one, two := bustest.WithFaults(bustest.NewRecorder(), second), bustest.WithFaults(bustest.NewRecorder(), second)
	require.NoError(t, one.Publish("a"))
	require.NoError(t, two.Publish("a"))
	require.ErrorIs(t, one.Publish("a"), broken)
	require.ErrorIs(t, two.Publish("a"), broken)
}
