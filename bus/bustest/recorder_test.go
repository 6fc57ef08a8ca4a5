package bustest_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

func TestRecorderCopiesFailsAndCloses(t *testing.T) {
	t.Parallel()
	rec := bustest.NewRecorder()
	msg := message.NewMessage("1", []byte("first"))
	require.NoError(t, rec.Publish("topic", msg))
	msg.Metadata.Set("late", "yes")
	require.Empty(t, rec.Messages("topic")[0].Metadata)

	broken := errors.New("broken")
	rec.Fail(broken)
	require.ErrorIs(t, rec.Publish("topic", msg), broken)
	rec.Fail(nil)
	require.NoError(t, rec.Close())
	require.ErrorIs(t, rec.Publish("topic", msg), bustest.ErrClosed)
	require.Len(t, rec.Events(), 1)
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	var rec bustest.Recorder
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				_ = rec.Publish("topic", message.NewMessage("1", nil))
				_ = rec.Topics()
			}
		})
	}
	group.Wait()
	require.Len(t, rec.Messages("topic"), 400)
}
