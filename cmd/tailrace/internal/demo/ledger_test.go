package demo_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/cmd/tailrace/internal/demo"
)

const topic = "users"

func events(ids ...string) []demo.Event {
	all := make([]demo.Event, len(ids))
	for i, id := range ids {
		all[i] = demo.Event{Topic: topic, Key: id[:1], ID: id}
	}
	return all
}

// TestCheck: a broken count must be an error that says which.
func TestCheck(t *testing.T) {
	t.Parallel()
	published := events("a1", "b1", "a2", "a3", "b2")
	for name, c := range map[string]struct {
		forwarded, consumed, dead []demo.Event
		letters                   int
		want                      string
	}{
		"all is well": {
			forwarded: events("b1", "b2", "a1", "a2", "a3"), consumed: events("a1", "a2", "b1", "a3", "b2"),
		},
		"handled twice is at least once": {
			forwarded: published, consumed: events("a1", "b1", "a1", "a2", "a3", "b2"),
		},
		"a dead letter that was meant": {
			forwarded: published, consumed: events("a1", "b1", "a2", "a3"), dead: events("b2"), letters: 1,
		},
		"a dead letter that was not": {
			forwarded: published, consumed: events("a1", "b1", "a2", "a3"), dead: events("b2"), want: "1 dead letters, where 0",
		},
		"no dead letter where one was": {
			forwarded: published, consumed: published, letters: 1, want: "0 dead letters, where 1",
		},
		"lost": {
			forwarded: events("a1", "b1", "a2", "b2"), consumed: events("a1", "b1", "a2", "b2"), want: "users: 1 published and not in Kafka",
		},
		"not consumed": {
			forwarded: published, consumed: events("a1", "b1", "a2", "b2"), want: "users: 1 in Kafka, and neither consumed",
		},
		"from a rollback": {
			forwarded: append(events("c1"), published...), consumed: published, want: "users: 1 in Kafka, though never published",
		},
		"twice in Kafka": {
			forwarded: append(events("a1"), published...), consumed: published, want: "users: 1 in Kafka more than once",
		},
		"out of order in Kafka": {
			forwarded: events("a2", "a1", "a3", "b1", "b2"), consumed: published, want: "users: 1 out of order within a key",
		},
		"out of order in a handler": {
			forwarded: published, consumed: events("b2", "b1", "a1", "a2", "a3"), want: "users: 1 out of order within a key",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ledger := demo.NewLedger(topic)
			ledger.Published(published...)
			ledger.Forwarded(c.forwarded...)
			ledger.Consumed(c.consumed...)
			ledger.SetAside(c.dead...)

			err := demo.Check(ledger.Counts(), c.letters)

			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
	require.ErrorContains(t, demo.Check(demo.NewLedger(topic).Counts(), 0), "nothing was published")
}

func TestLedgerIsDone(t *testing.T) {
	t.Parallel()
	ledger := demo.NewLedger(topic)
	ledger.Published(events("a1", "a2")...)
	ledger.Consumed(events("a1", "a1")...)
	require.False(t, ledger.Done(), "the same event twice is one")
	ledger.SetAside(events("a2")...)
	require.True(t, ledger.Done())
}

func TestLatency(t *testing.T) {
	t.Parallel()
	ledger := demo.NewLedger(topic)
	require.Zero(t, ledger.Latency(0.5))
	ledger.Committing(events("a1")...)
	ledger.Acknowledged("a1")
	once := ledger.Latency(0.99)
	require.Positive(t, once)
	ledger.Acknowledged("a1")
	ledger.Acknowledged("never published")
	require.Equal(t, once, ledger.Latency(1), "only the first acknowledgement counts")
}
