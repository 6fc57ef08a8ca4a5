package outbox_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/outbox"
)

func TestOneSubscriberAtATimeAndItsSuccessorGoesOn(t *testing.T) {
	onBothTables(t, oneSubscriberAtATimeAndItsSuccessorGoesOn)
}

func oneSubscriberAtATimeAndItsSuccessorGoesOn(t *testing.T, b bundle) {
	require.NoError(t, b.writer(t).Publish("t", keyed(2, 1)...))
	first, second := b.subscriber(t, nil), b.subscriber(t, nil)
	messages := b.subscribe(t, first, "t")
	msg := next(t, messages)
	standby := b.subscribe(t, second, "t")

	// The server ends the owner's connection while its handler works: its ack still counts.
	b.eventually(t, 1, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	store, err := outbox.NewStore(b.db, "")
	require.NoError(t, err)
	_, err = store.Claim(b.ctx, "test", time.Second)
	require.ErrorIs(t, err, outbox.ErrOwned, "it is the forwarder's lock")
	select {
	case m := <-standby:
		t.Fatalf("delivered twice: %s", m.Payload)
	default:
	}
	require.Equal(t, "0", string(msg.Payload))
	msg.Ack()
	require.NoError(t, first.Close())
	msg = next(t, standby)
	require.Equal(t, "1", string(msg.Payload), "what the first settled on closing is not delivered again")
	msg.Ack()
}

func TestSubscriberComesBackAfterItsConnectionIsCut(t *testing.T) {
	onBothTables(t, subscriberComesBackAfterItsConnectionIsCut)
}

func subscriberComesBackAfterItsConnectionIsCut(t *testing.T, b bundle) {
	messages := b.subscribe(t, b.subscriber(t, nil), "t")
	for i := range 3 {
		require.NoError(t, b.writer(t).Publish("t", newMessage(strconv.Itoa(i))))
		msg := next(t, messages)
		require.Equal(t, strconv.Itoa(i), string(msg.Payload))
		msg.Ack()
		b.eventually(t, int64(i+1), `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`)
		b.eventually(t, 1, `SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	}
}

func TestSubscriberFinishesWhatAHandlerHasInHand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.writer(t).Publish("t", newMessage("x"), newMessage("y")))
	s := b.subscriber(t, nil)
	messages := b.subscribe(t, s, "t")
	msg := next(t, messages)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	require.Eventually(t, func() bool {
		_, err := s.Subscribe(b.ctx, "t")
		return errors.Is(err, outbox.ErrSubscriberClosed)
	}, patience, time.Millisecond)
	require.NoError(t, msg.Context().Err(), "the handler may finish")
	msg.Ack()
	require.NoError(t, <-closed)
	_, open := <-messages
	require.False(t, open)
	require.True(t, s.Drained())
	require.False(t, s.State().Owner)
	require.Equal(t, int64(1), scalar[int64](t, b, `SELECT count(*) FROM event_outbox WHERE processed_at IS NOT NULL`), "acked is settled before Close returns")
}

func TestSubscriberTakesANackWhileClosingForNoFailure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.writer(t).Publish("t", newMessage("x")))
	ctx, cancel := context.WithCancel(b.ctx)
	messages, err := b.subscriber(t, nil).Subscribe(ctx, "t")
	require.NoError(t, err)
	msg := next(t, messages)
	cancel()
	require.NoError(t, msg.Context().Err(), "the handler may finish")
	outbox.NoteFailure(msg.Context(), errors.New("everything is closing"))
	msg.Nack()
	_, open := <-messages
	require.False(t, open)
	require.Zero(t, scalar[int64](t, b, `SELECT sum(retry_count) FROM event_outbox`))
}

func TestSubscriberGivesUpOnAHandlerThatDoesNotFinish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.writer(t).Publish("t", newMessage("x")))
	s := b.subscriber(t, func(c *outbox.SubscriberConfig) { c.CloseTimeout = 50 * time.Millisecond })
	msg := next(t, b.subscribe(t, s, "t"))
	require.NoError(t, s.Close())
	<-msg.Context().Done()
	require.False(t, s.Drained())
	require.Equal(t, int64(1), scalar[int64](t, b, `SELECT count(*) FROM event_outbox WHERE processed_at IS NULL AND retry_count = 0`))
}
