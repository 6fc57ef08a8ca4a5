package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// failures runs a function whose requirements may fail and returns the text of the first that does.
func failures(t *testing.T, run func(testing.TB)) string {
	t.Helper()
	fake := &fakeTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(fake)
	}()
	<-done
	return fake.text
}

type fakeTB struct {
	testing.TB
	text string
}

func (f *fakeTB) Helper() {}

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func newBus(t *testing.T, rec *bustest.Recorder) *bus.Bus {
	t.Helper()
	b, err := bus.New(bus.Config{Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, Publisher: rec})
	require.NoError(t, err)
	return b
}

func publishAll(t *testing.T, rec *bustest.Recorder) {
	t.Helper()
	_, err := newBus(t, rec).PublishAll(context.Background(),
		envelopes.Domain{AggregateType: "User", AggregateID: "u-1", EventType: "user_created", EventData: map[string]any{"password": "hunter2"}},
		envelopes.Audit{EventType: envelopes.DataCreated, Action: "create", ResourceType: "user", ResourceID: "u-1", Failed: true},
		envelopes.Notification{EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{"u-1"}, Message: "hi"},
		envelopes.Custom{Topic: "metrics", Key: "k", EventType: "sampled", Payload: 1},
	)
	require.NoError(t, err)
}

func TestRequireFindsEachKind(t *testing.T) {
	t.Parallel()
	rec := bustest.NewRecorder()
	publishAll(t, rec)
	domain := bustest.RequireDomain(t, rec, "User", "user_created", func(d envelopes.Domain) bool { return d.AggregateID == "u-1" })
	data, err := envelopes.DataAs[map[string]string](domain)
	require.NoError(t, err)
	require.Equal(t, "hunter2", data["password"])
	require.True(t, bustest.RequireAudit(t, rec, envelopes.DataCreated).Failed)
	require.Equal(t, "hi", bustest.RequireNotification(t, rec, envelopes.UserWelcome).Message)
	custom := bustest.RequireCustom(t, rec, "sampled")
	require.Equal(t, "marty.metrics", custom.Topic)
	require.Equal(t, "k", custom.Key)

	require.Contains(t, rec.Topics(), "marty.user-service.user.user_created")
	messages := rec.Messages("marty.user-service.user.user_created")
	require.Len(t, messages, 1)
	require.Equal(t, domain.Metadata.EventID, messages[0].UUID)
}

func TestRequireSaysWhatWasPublishedInstead(t *testing.T) {
	t.Parallel()
	rec := bustest.NewRecorder()
	require.NoError(t, rec.Publish("raw", message.NewMessage("1", []byte("no JSON"))))
	publishAll(t, rec)
	const published = `; published:
  1. a message that is no event, on raw
  2. domain user_created, User u-1, on marty.user-service.user.user_created
  3. audit data.created, user u-1 (failed), on marty.audit.events
  4. notification user.welcome, to user u-1, on marty.notification.events
  5. custom sampled, key k, on marty.metrics`

	require.Equal(t, "bustest: one domain event user_deleted of aggregate type User was expected, but there is none"+published,
		failures(t, func(t testing.TB) { bustest.RequireDomain(t, rec, "User", "user_deleted") }))
	require.Equal(t, "bustest: one audit event data.created was expected that meets the conditions; of 1 published, none does"+published,
		failures(t, func(t testing.TB) {
			bustest.RequireAudit(t, rec, envelopes.DataCreated, func(a envelopes.Audit) bool { return !a.Failed })
		}))
	require.Contains(t, failures(t, func(t testing.TB) { bustest.RequireNothing(t, rec) }), "nothing should have been published, but was:\n  1. ")

	publishAll(t, rec)
	require.Contains(t, failures(t, func(t testing.TB) { bustest.RequireCustom(t, rec, "sampled") }),
		"bustest: exactly one custom event sampled was expected, but there are 2; published:\n")

	rec.Reset()
	bustest.RequireNothing(t, rec)
	require.Equal(t, "bustest: one notification user.welcome was expected, but nothing was published",
		failures(t, func(t testing.TB) { bustest.RequireNotification(t, rec, envelopes.UserWelcome) }))
}

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
