package inbox_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/inbox"
)

// Two members have the same event at the same time, as after a rebalance: the second waits for the
// first's transaction, and does what the first left to do.
func TestTheSecondOfTwoWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first  error
		goesOn bool
	}{
		"and skips when it committed":     {nil, false},
		"and goes on when it rolled back": {errBoom, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			inside, leave := make(chan struct{}), make(chan struct{})
			first := b.inbox(t, inbox.Config{}).Once("mailer", func(msg *message.Message) error {
				if err := b.welcome(msg); err != nil {
					return err
				}
				close(inside)
				<-leave
				return c.first
			})
			goesOn := false
			// Another process has an inbox and a Bus of its own.
			other := bundle{db: b.db, bus: newBus(t, b.db), ctx: b.ctx}
			second := other.inbox(t, inbox.Config{}).Once("mailer", func(msg *message.Message) error {
				goesOn = true
				return other.welcome(msg)
			})

			msg := newMessage()
			firstDone, secondDone := make(chan error, 1), make(chan error, 1)
			go func() { firstDone <- first(again(msg)) }()
			<-inside
			go func() { secondDone <- second(again(msg)) }()
			require.Eventually(t, func() bool {
				return b.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO "event_inbox"%'`) == 1
			}, patience, tick)
			close(leave)
			require.ErrorIs(t, await(t, firstDone), c.first)
			require.NoError(t, await(t, secondDone))
			require.Equal(t, c.goesOn, goesOn)
			require.Equal(t, [3]int{1, 1, 1}, b.stays(t))
		})
	}
}
