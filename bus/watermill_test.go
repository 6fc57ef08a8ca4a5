package bus_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

func TestMessageIsWhatWouldBePublished(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	event := userCreated("user-1")
	event.Metadata.EventID = "1"
	ctx := bus.WithMetadata(t.Context(), bus.Metadata{CorrelationID: "request-1"})
	topic, msg, err := b.Message(ctx, event)
	require.NoError(t, err)
	require.Empty(t, r.all, "nothing was published")
	require.NoError(t, b.Publisher().Publish(topic, msg))
	_, err = b.PublishDomain(ctx, event)
	require.NoError(t, err)
	require.Equal(t, r.all[1].topic, r.all[0].topic)
	require.True(t, r.all[0].msg.Equals(r.all[1].msg))

	_, _, err = b.Message(ctx, userCreated(""))
	require.ErrorIs(t, err, envelopes.ErrInvalid)
}

func TestPublisherSendsMessagesAsTheyAre(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	publisher := b.Publisher()
	require.NoError(t, publisher.Publish("anything"))
	require.Empty(t, r.all)
	require.NoError(t, publisher.Publish("anything", message.NewMessage("1", []byte("a")), message.NewMessage("2", []byte("b"))))
	require.Len(t, r.all, 2)
	require.Equal(t, 0, r.all[1].call, "in one call")
	require.Equal(t, "anything", r.all[1].topic)
	require.NoError(t, publisher.Close())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, publisher.Publish("anything", message.NewMessageWithContext(ctx, "3", nil)), context.Canceled)
	in := b.WithTx(t.Context(), unopened(t))
	require.ErrorIs(t, publisher.Publish("anything", message.NewMessageWithContext(in, "4", nil)), bus.ErrNoOutbox)
	away := errors.New("away")
	r.fail = map[string]error{"anything": away}
	require.ErrorIs(t, publisher.Publish("anything", message.NewMessage("5", nil)), away)
}

func TestPublisherWritesInTheContextsTransaction(t *testing.T) {
	t.Parallel()
	d := overPostgres(t)
	tx := d.begin(t)
	send := func(ctx context.Context, id string) {
		require.NoError(t, d.Publisher().Publish("anything", message.NewMessageWithContext(ctx, id, []byte("a"))))
	}
	send(d.WithTx(d.ctx, tx), "in")
	send(d.ctx, "own")
	require.Equal(t, []string{"own"}, d.ids(t))
	require.NoError(t, tx.Commit())
	require.ElementsMatch(t, []string{"in", "own"}, d.ids(t))
	require.EqualValues(t, 1, d.commit.Load())
}
