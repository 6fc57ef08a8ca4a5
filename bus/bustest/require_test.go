package bustest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

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
		envelopes.Domain{AggregateType: "User", AggregateID: "u-1", EventType: "user_created", EventData: user{"ada", "hunter2"}},
		envelopes.Audit{EventType: envelopes.DataCreated, Action: "create", ResourceType: "user", ResourceID: "u-1", Failed: true},
		envelopes.Notification{EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{"u-1"}, Message: "hi"},
		envelopes.Custom{Topic: "metrics", Key: "k", EventType: "sampled", Payload: 1},
	)
	require.NoError(t, err)
}

type user struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

var userCreated = bus.Define[user]("User", "user_created")

func TestRequireFindsEachKind(t *testing.T) {
	t.Parallel()
	rec := bustest.NewRecorder()
	publishAll(t, rec)
	domain := bustest.RequireDomain(t, rec, "User", "user_created", func(d envelopes.Domain) bool { return d.AggregateID == "u-1" })
	data, err := envelopes.DataAs[map[string]string](domain)
	require.NoError(t, err)
	require.Equal(t, "hunter2", data["password"])
	require.Equal(t, "hunter2", bustest.RequireEvent(t, rec, userCreated, "u-1", func(u user) bool { return u.Name == "ada" }).Password)
	bustest.RequireEvent(t, rec, userCreated, "")
	require.True(t, bustest.RequireAudit(t, rec, envelopes.DataCreated).Failed)
	require.Equal(t, "hi", bustest.RequireNotification(t, rec, envelopes.UserWelcome).Message)
	custom := bustest.RequireCustom(t, rec, "sampled")
	require.Equal(t, "marty.metrics", custom.Topic)
	require.Equal(t, "k", custom.Key)
}

func TestRequireAsksForWhatIsSet(t *testing.T) {
	t.Parallel()
	rec := bustest.NewRecorder()
	ctx := bus.WithMetadata(context.Background(), bus.Metadata{CorrelationID: "c-1"})
	at := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.FixedZone("", 3600))
	_, err := newBus(t, rec).PublishAll(ctx,
		envelopes.Domain{AggregateType: "order", AggregateID: "o-1", EventType: "placed", EventData: json.RawMessage(`{"total": 1.50, "lines": [{"sku": "a", "n": 9007199254740993}], "note": null}`)},
		envelopes.Audit{EventType: envelopes.DataUpdated, Action: "update", ResourceType: "order", ResourceID: "o-1", Metadata: envelopes.Metadata{CustomHeaders: map[string]string{"a": "1", "b": "2"}, Timestamp: at}, ComplianceTags: []string{"sox", "gdpr"}},
		envelopes.Custom{Topic: "metrics", EventType: "sampled", Payload: []int{1, 2}},
		envelopes.Notification{EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{"u-1"}, Message: "hi", Attachments: []any{map[string]any{"name": "x"}}},
	)
	require.NoError(t, err)
	order := func(data any) envelopes.Domain { return envelopes.Domain{EventData: data} }
	for _, test := range []struct {
		name string
		want envelopes.Event
		// differs is the difference there is, "" for none.
		differs string
	}{
		{"nothing is asked", envelopes.Domain{}, ""},
		{"a field", envelopes.Domain{AggregateID: "o-1"}, ""},
		{"another value", envelopes.Domain{AggregateID: "o-2"}, `AggregateID: "o-1", expected "o-2"`},
		{"an inherited id", envelopes.Domain{Metadata: envelopes.Metadata{CorrelationID: "c-1"}}, ""},
		{"another inherited id", envelopes.Domain{Metadata: envelopes.Metadata{CorrelationID: "c-2"}}, `Metadata.CorrelationID: "c-1", expected "c-2"`},
		{"a part of the data", order(map[string]any{"total": 1.5}), ""},
		{"a number by another spelling", order(json.RawMessage(`{"total": 15e-1}`)), ""},
		{"a list's objects in part", order(map[string]any{"lines": []any{map[string]any{"sku": "a"}}}), ""},
		{"a large number by each digit", order(map[string]any{"lines": []any{map[string]int64{"n": 9007199254740992}}}), `EventData.lines[0].n: 9007199254740993, expected 9007199254740992`},
		{"a longer list", order(map[string]any{"lines": []int{1, 2}}), `EventData.lines: [{"n":9007199254740993,"sku":"a"}], expected [1,2]`},
		{"a missing field", order(map[string]any{"currency": "EUR"}), `EventData.currency: missing, expected "EUR"`},
		{"null is there", order(map[string]any{"note": nil}), ""},
		{"another type", order(map[string]any{"total": "1.50"}), `EventData.total: 1.50, expected "1.50"`},
		{"a struct asks for all of its fields", order(struct {
			Total float64 `json:"total"`
			Note  string  `json:"note"`
		}{1.5, ""}), `EventData.note: null, expected ""`},
		{"what is not JSON", order(map[string]any{"f": func() {}}), `EventData: what is expected is not JSON: json: unsupported type: func()`},
		{"a header in part", envelopes.Audit{Metadata: envelopes.Metadata{CustomHeaders: map[string]string{"b": "2"}}}, ""},
		{"the same instant in microseconds", envelopes.Audit{Metadata: envelopes.Metadata{Timestamp: at.UTC()}}, ""},
		{"another instant", envelopes.Audit{Metadata: envelopes.Metadata{Timestamp: at.Add(time.Second)}}, `Metadata.Timestamp: 2026-01-02T02:04:05.123456Z, expected 2026-01-02T02:04:06.123456Z`},
		{"a list", envelopes.Audit{ComplianceTags: []string{"sox", "gdpr"}}, ""},
		{"a list's other order", envelopes.Audit{ComplianceTags: []string{"gdpr", "sox"}}, "ComplianceTags[0]: \"sox\", expected \"gdpr\"\n       ComplianceTags[1]: \"gdpr\", expected \"sox\""},
		{"a success is not told from what is not asked", envelopes.Audit{Failed: true}, "Failed: false, expected true"},
		{"a topic without its prefix", envelopes.Custom{Topic: "metrics"}, ""},
		{"a topic with its prefix", envelopes.Custom{Topic: "marty.metrics", Payload: []int{1, 2}}, ""},
		{"the end of a topic's word", envelopes.Custom{Topic: "etrics"}, `Topic: "marty.metrics", expected "etrics"`},
		{"attachments", envelopes.Notification{Attachments: []any{map[string]any{"name": "y"}}}, `Attachments[0].name: "x", expected "y"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text := failures(t, func(t testing.TB) { bustest.RequireOne(t, rec, bustest.Like(test.want)) })
			if test.differs == "" {
				require.Empty(t, text)
			} else {
				require.Contains(t, text+"\n", "\n       "+test.differs+"\n")
				require.Regexp(t, `^bustest: one .+ was expected, but there is none; published:\n`, text)
			}
		})
	}
}

func TestRequireSaysWhatWasPublishedInstead(t *testing.T) {
	t.Parallel()
	rec := bustest.NewRecorder()
	require.NoError(t, rec.Publish("raw", message.NewMessage("1", []byte("no JSON"))))
	publishAll(t, rec)
	const (
		none         = " was expected, but there is none; published:"
		raw          = "\n  1. a message that is no event, on raw"
		domain       = "\n  2. domain user_created, User u-1, on marty.user-service.user.user_created"
		audit        = "\n  3. audit data.created, user u-1 (failed), on marty.audit.events"
		notification = "\n  4. notification user.welcome, to user u-1, on marty.notification.events"
		custom       = "\n  5. custom sampled, key k, on marty.metrics"
	)
	for _, test := range []struct {
		name, want string
		require    func(testing.TB)
	}{
		{
			"another type",
			"bustest: one domain event user_deleted of User" + none + raw + domain + "\n       EventType: \"user_created\", expected \"user_deleted\"" + audit + notification + custom,
			func(t testing.TB) { bustest.RequireDomain(t, rec, "User", "user_deleted") },
		},
		{
			"each field",
			"bustest: one domain event of User u-2 on elsewhere with key \"\"" + none + raw + domain +
				"\n       AggregateID: \"u-1\", expected \"u-2\"\n       EventData.password: \"hunter2\", expected \"correct horse\"" +
				"\n       topic: \"marty.user-service.user.user_created\", expected \"elsewhere\"\n       key: \"u-1\", expected \"\"" +
				"\n       header ce_type: \"user_created\", expected \"x\"\n       header tenant: missing, expected \"t-1\"" + audit + notification + custom,
			func(t testing.TB) {
				bustest.RequireOne(t, rec, bustest.Like(envelopes.Domain{
					AggregateType: "User", AggregateID: "u-2", EventData: map[string]string{"password": "correct horse"},
				}).On("elsewhere").Keyed("").With("tenant", "t-1").With("ce_type", "x"))
			},
		},
		{
			"a defined event of another aggregate",
			"bustest: one domain event user_created of User u-2" + none + raw + domain + "\n       AggregateID: \"u-1\", expected \"u-2\"" + audit + notification + custom,
			func(t testing.TB) { bustest.RequireEvent(t, rec, userCreated, "u-2") },
		},
		{
			"more than one",
			"bustest: 0 of notification to user were expected, but there are 1; published:" + raw + domain + audit + notification + custom,
			func(t testing.TB) {
				bustest.RequireNone(t, rec, bustest.Like(envelopes.Notification{RecipientType: envelopes.RecipientUser}))
			},
		},
		{
			"the wrong order",
			"bustest: in order, number 2 of 2 expected (audit event data.created) is not among those from the 5. on; published:" + raw + domain + audit + notification + custom,
			func(t testing.TB) {
				bustest.RequireInOrder(t, rec, bustest.Like(envelopes.Notification{}), bustest.Like(envelopes.Audit{EventType: envelopes.DataCreated}))
			},
		},
		{
			"something",
			"bustest: nothing should have been published; published:" + raw + domain + audit + notification + custom,
			func(t testing.TB) { bustest.RequireNothing(t, rec) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, failures(t, test.require))
		})
	}
	require.Contains(t, failures(t, func(t testing.TB) {
		bustest.RequireAudit(t, rec, envelopes.DataCreated, func(a envelopes.Audit) bool { return a.Failed }, func(a envelopes.Audit) bool { return !a.Failed })
	}), audit+"\n       condition 2 of 2 does not hold: {")
	require.Contains(t, failures(t, func(t testing.TB) {
		bustest.RequireEvent(t, rec, userCreated, "u-1", func(u user) bool { return u.Name == "" })
	}), domain+"\n       the condition does not hold: {")
	require.Contains(t, failures(t, func(t testing.TB) {
		bustest.RequireEvent(t, rec, bus.Define[struct{ Password int }]("User", "user_created"), "u-1")
	}), domain+"\n       envelopes: ")

	publishAll(t, rec)
	require.Contains(t, failures(t, func(t testing.TB) { bustest.RequireCustom(t, rec, "sampled") }),
		"bustest: exactly one custom event sampled was expected, but there are 2; published:\n")

	rec.Reset()
	bustest.RequireNothing(t, rec)
	require.Equal(t, "bustest: one notification user.welcome was expected, but there is none; nothing was published",
		failures(t, func(t testing.TB) { bustest.RequireNotification(t, rec, envelopes.UserWelcome) }))
}

func TestRequireCountAndOrder(t *testing.T) {
	t.Parallel()
	rec := bustest.NewRecorder()
	b := newBus(t, rec)
	for _, id := range []string{"u-1", "u-2", "u-1"} {
		_, err := userCreated.Publish(t.Context(), b, id, user{Name: id})
		require.NoError(t, err)
	}
	one := bustest.Like(userCreated.New("u-1", user{Name: "u-1"})).On("marty.user-service.user.user_created").Keyed("u-1")
	two := bustest.Like(envelopes.Domain{AggregateID: "u-2"})
	require.Len(t, bustest.RequireCount(t, rec, 2, one), 2)
	bustest.RequireInOrder(t, rec, one, one)
	bustest.RequireInOrder(t, rec)
	bustest.RequireExactly(t, rec, one, two, one)

	for _, test := range []struct {
		name, want string
		wants      []bustest.Expectation
	}{
		{"one more", "exactly 4 events were expected, but number 4 (domain event of u-2) is not there; published:\n  1. domain", []bustest.Expectation{one, two, one, two}},
		{"one less", "exactly 2 events were expected, but number 3 is another; published:\n  1. domain", []bustest.Expectation{one, two}},
		{"another order", "exactly 3 events were expected, but number 2 is another; published:\n  1. domain", []bustest.Expectation{one, one, two}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, failures(t, func(t testing.TB) { bustest.RequireExactly(t, rec, test.wants...) }), test.want)
		})
	}
}

// TestTheFailureThatTheDocumentShows is one there really is.
func TestTheFailureThatTheDocumentShows(t *testing.T) {
	t.Parallel()
	rec := bustest.NewRecorder()
	b, err := bus.New(bus.Config{Service: "user-service", Publisher: rec})
	require.NoError(t, err)
	created := bus.Define[map[string]string]("user", "user_created")
	_, err = b.PublishAll(t.Context(), created.New("user-2", map[string]string{"email": "ada@example.org"}),
		envelopes.Audit{EventType: envelopes.DataCreated, Action: "create", ResourceType: "user", ResourceID: "user-2"})
	require.NoError(t, err)
	text := failures(t, func(t testing.TB) {
		bustest.Require(t, rec, created.New("user-1", map[string]string{"email": "ada@example.com"}))
	})
	document, err := os.ReadFile("../../docs/testing.md")
	require.NoError(t, err)
	require.Contains(t, string(document), "```text\n"+text+"\n```")
}
