package bus_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

const userTopic = "marty.user-service.user.user_created"

// tracer is a provider that keeps its spans, and a context with a span of a caller's.
type tracer struct {
	*tracetest.SpanRecorder
	provider *sdk.TracerProvider
	ctx      context.Context
	caller   trace.SpanContext
}

func newTracer(t testing.TB, options ...sdk.TracerProviderOption) *tracer {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(append(options, sdk.WithSpanProcessor(recorder))...)
	state, err := trace.ParseTraceState("vendor=7")
	require.NoError(t, err)
	caller := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
	return &tracer{recorder, provider, trace.ContextWithSpanContext(context.Background(), caller), caller}
}

// spans are all, in the order in which they began.
func (tr *tracer) spans(t testing.TB) []sdk.ReadOnlySpan {
	t.Helper()
	require.Len(t, tr.Ended(), len(tr.Started()), "each span ends once")
	all := make([]sdk.ReadOnlySpan, 0, 5)
	for _, span := range tr.Started() {
		all = append(all, span)
	}
	return all
}

func (tr *tracer) only(t testing.TB) sdk.ReadOnlySpan {
	t.Helper()
	require.Len(t, tr.spans(t), 1)
	return tr.Ended()[0]
}

func attributes(of []attribute.KeyValue) map[string]any {
	all := map[string]any{}
	for _, a := range of {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

func parentOf(sc trace.SpanContext) string {
	return fmt.Sprintf("00-%s-%s-%s", sc.TraceID(), sc.SpanID(), sc.TraceFlags())
}

// comesFrom says that the event's creation context is sc, in its headers and in its envelope.
func comesFrom(t testing.TB, sc trace.SpanContext, msg *message.Message) {
	t.Helper()
	envelope, err := envelopes.Decode(msg.Payload)
	require.NoError(t, err)
	require.Equal(t, parentOf(sc), msg.Metadata["traceparent"])
	require.Equal(t, sc.TraceID().String(), envelope.Metadata.TraceID)
	require.Equal(t, sc.SpanID().String(), envelope.Metadata.SpanID)
}

func tracedOutbox(t testing.TB, provider trace.TracerProvider) (*bus.Bus, *recorder) {
	t.Helper()
	r := &recorder{}
	b, err := bus.New(bus.Config{Service: "user-service", Topics: topics.Naming{Prefix: "marty"}, Outbox: r, Tracer: provider})
	require.NoError(t, err)
	return b, r
}

func TestSendingOneEventIsOneSpan(t *testing.T) {
	t.Parallel()
	tr := newTracer(t)
	b, r := direct(t, func(c *bus.Config) { c.Tracer = tr.provider })
	id, err := b.PublishDomain(bus.WithMetadata(tr.ctx, bus.Metadata{CorrelationID: "req-7"}), userCreated("u-1"))
	require.NoError(t, err)

	span := tr.only(t)
	require.Equal(t, "send "+userTopic, span.Name())
	require.Equal(t, trace.SpanKindProducer, span.SpanKind())
	require.Equal(t, tr.caller, span.Parent())
	require.Empty(t, span.Links())
	require.Equal(t, codes.Unset, span.Status().Code)
	require.Equal(t, "github.com/tailrace-go/tailrace/bus", span.InstrumentationScope().Name)
	require.Equal(t, map[string]any{
		"messaging.system": "kafka", "messaging.operation.name": "send", "messaging.operation.type": "send",
		"messaging.destination.name": userTopic, "messaging.message.id": id,
		"messaging.kafka.message.key": "u-1", "messaging.message.conversation_id": "req-7",
	}, attributes(span.Attributes()))

	_, _, msg := r.only(t)
	comesFrom(t, span.SpanContext(), msg)
	require.Equal(t, "vendor=7", msg.Metadata["tracestate"])
	require.Equal(t, span.SpanContext(), trace.SpanContextFromContext(msg.Context()), "what publishes the message is inside")
}

func TestSendingSeveralEventsLinksToTheirCreation(t *testing.T) {
	t.Parallel()
	tr := newTracer(t)
	b, r := direct(t, func(c *bus.Config) { c.Tracer = tr.provider })
	ids, err := b.PublishAll(tr.ctx, userCreated("u-1"), loggedIn(), userCreated("u-2"))
	require.NoError(t, err)

	spans := tr.spans(t)
	require.Len(t, spans, 5)
	creates, sends := spans[:3], spans[3:]
	for i, span := range creates {
		topic := []string{userTopic, "marty.audit.events", userTopic}[i]
		require.Equal(t, "create "+topic, span.Name())
		require.Equal(t, trace.SpanKindProducer, span.SpanKind())
		require.Equal(t, tr.caller, span.Parent())
		require.Equal(t, ids[i], attributes(span.Attributes())["messaging.message.id"])
		require.NotContains(t, attributes(span.Attributes()), "messaging.batch.message_count")
		require.False(t, span.EndTime().After(sends[0].StartTime()), "it is created before it is sent")
	}
	require.NotContains(t, attributes(creates[1].Attributes()), "messaging.kafka.message.key", "a null key is no attribute")

	require.Equal(t, "send "+userTopic, sends[0].Name())
	require.Equal(t, trace.SpanKindClient, sends[0].SpanKind())
	require.Equal(t, tr.caller, sends[0].Parent())
	require.Equal(t, map[string]any{
		"messaging.system": "kafka", "messaging.operation.name": "send", "messaging.operation.type": "send",
		"messaging.destination.name": userTopic, "messaging.batch.message_count": int64(2),
	}, attributes(sends[0].Attributes()))
	require.Len(t, sends[0].Links(), 2)
	require.Equal(t, creates[0].SpanContext(), sends[0].Links()[0].SpanContext)
	require.Equal(t, creates[2].SpanContext(), sends[0].Links()[1].SpanContext)
	require.Equal(t, map[string]any{"messaging.message.id": ids[2], "messaging.kafka.message.key": "u-2"}, attributes(sends[0].Links()[1].Attributes))

	require.Equal(t, "send marty.audit.events", sends[1].Name())
	require.Equal(t, ids[1], attributes(sends[1].Attributes())["messaging.message.id"])
	require.NotContains(t, attributes(sends[1].Attributes()), "messaging.batch.message_count", "it is on one message")

	for _, sent := range r.all {
		i := slices.Index(ids, sent.msg.UUID)
		comesFrom(t, creates[i].SpanContext(), sent.msg)
	}
}

func TestWritingToTheOutboxCreates(t *testing.T) {
	t.Parallel()
	tr := newTracer(t)
	b, r := tracedOutbox(t, tr.provider)
	id, err := b.PublishDomain(tr.ctx, userCreated("u-1"))
	require.NoError(t, err)
	span := tr.only(t)
	require.Equal(t, "create "+userTopic, span.Name())
	require.Equal(t, trace.SpanKindProducer, span.SpanKind())
	require.Equal(t, id, attributes(span.Attributes())["messaging.message.id"])
	require.Equal(t, "create", attributes(span.Attributes())["messaging.operation.type"])
	comesFrom(t, span.SpanContext(), r.all[0].msg)
	require.Equal(t, span.SpanContext(), trace.SpanContextFromContext(r.ctx[0]), "the statement is inside")

	tr.Reset()
	_, err = b.PublishAll(tr.ctx, userCreated("u-1"), loggedIn())
	require.NoError(t, err)
	spans := tr.spans(t)
	require.Len(t, spans, 2, "the forwarder sends")
	for i, span := range spans {
		comesFrom(t, span.SpanContext(), r.all[1+i].msg)
	}
	require.Equal(t, tr.caller, trace.SpanContextFromContext(r.ctx[1]), "the statement is of no single event")
}

func TestTraceIDsOfTheCallersOwnStay(t *testing.T) {
	t.Parallel()
	own := userCreated("u-1")
	own.Metadata.TraceID, own.Metadata.SpanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	stays := func(t *testing.T, r *recorder) {
		t.Helper()
		require.Equal(t, parent, r.all[0].msg.Metadata["traceparent"])
		require.NotContains(t, r.all[0].msg.Metadata, "tracestate", "that is of another trace")
		envelope, err := envelopes.Decode(r.all[0].msg.Payload)
		require.NoError(t, err)
		require.Equal(t, own.Metadata.TraceID, envelope.Metadata.TraceID)
		require.Equal(t, own.Metadata.SpanID, envelope.Metadata.SpanID)
	}
	t.Run("outbox", func(t *testing.T) {
		t.Parallel()
		tr := newTracer(t)
		b, r := tracedOutbox(t, tr.provider)
		_, err := b.PublishDomain(tr.ctx, own)
		require.NoError(t, err)
		stays(t, r)
		require.Empty(t, tr.spans(t), "it was created elsewhere")
	})
	t.Run("direct", func(t *testing.T) {
		t.Parallel()
		tr := newTracer(t)
		b, r := direct(t, func(c *bus.Config) { c.Tracer = tr.provider })
		_, err := b.PublishDomain(tr.ctx, own)
		require.NoError(t, err)
		stays(t, r)
		span := tr.only(t)
		require.Equal(t, "send "+userTopic, span.Name())
		require.Equal(t, trace.SpanKindClient, span.SpanKind())
		require.Len(t, span.Links(), 1)
		require.Equal(t, parent, parentOf(span.Links()[0].SpanContext))
	})
	t.Run("an id that is none", func(t *testing.T) {
		t.Parallel()
		tr := newTracer(t)
		b, r := direct(t, func(c *bus.Config) { c.Tracer = tr.provider })
		odd := userCreated("u-1")
		odd.Metadata.TraceID = "my own words"
		_, err := b.PublishDomain(tr.ctx, odd)
		require.NoError(t, err)
		_, envelope, msg := r.only(t)
		require.Equal(t, "my own words", envelope.Metadata.TraceID)
		require.NotContains(t, msg.Metadata, "traceparent")
		require.Empty(t, tr.only(t).Links())
	})
}

func TestTracingOff(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(*bus.Config)
		flows  bool
	}{
		"NoTracing":          {func(c *bus.Config) { c.NoTracing = true }, false},
		"the no-op provider": {func(c *bus.Config) { c.Tracer = noop.NewTracerProvider() }, true},
		"a provider that is no SDK, and not known as such": {func(c *bus.Config) { c.Tracer = disguised{noop.NewTracerProvider()} }, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			tr := newTracer(t)
			b, r := direct(t, c.change)
			_, err := b.PublishDomain(tr.ctx, userCreated("u-1"))
			require.NoError(t, err)
			_, err = b.PublishAll(tr.ctx, userCreated("u-2"), loggedIn())
			require.NoError(t, err)
			for _, sent := range r.all {
				if c.flows {
					comesFrom(t, tr.caller, sent.msg)
					require.Equal(t, "vendor=7", sent.msg.Metadata["tracestate"])
					continue
				}
				require.NotContains(t, sent.msg.Metadata, "traceparent")
				require.NotContains(t, sent.msg.Metadata, "tracestate")
			}
			_, err = b.PublishDomain(context.Background(), userCreated("u-3"))
			require.NoError(t, err)
			require.NotContains(t, r.all[3].msg.Metadata, "traceparent", "there is none to flow")
		})
	}
}

// TestTheGlobalProvider is not parallel: while it runs, no other test publishes.
func TestTheGlobalProvider(t *testing.T) {
	b, _ := direct(t)
	tr := newTracer(t)
	otel.SetTracerProvider(&global)
	global.set(tr.provider)
	t.Cleanup(func() { global.set(noop.NewTracerProvider()) })
	_, err := b.PublishDomain(tr.ctx, userCreated("u-1"))
	require.NoError(t, err)
	require.Equal(t, "send "+userTopic, tr.only(t).Name(), "also when it is set after New")
}

func TestAnEventThatIsNotSampledSaysSo(t *testing.T) {
	t.Parallel()
	tr := newTracer(t, sdk.WithSampler(sdk.NeverSample()))
	b, r := direct(t, func(c *bus.Config) { c.Tracer = tr.provider })
	_, err := b.PublishDomain(tr.ctx, userCreated("u-1"))
	require.NoError(t, err)
	_, envelope, msg := r.only(t)
	require.Equal(t, "00-"+tr.caller.TraceID().String()+"-"+envelope.Metadata.SpanID+"-00", msg.Metadata["traceparent"])
	require.Empty(t, tr.Ended())
}

func TestASpanSaysWhyItFailed(t *testing.T) {
	t.Parallel()
	faulty := userCreated("u-1")
	faulty.EventData = []int{1}
	cancelled := func(b *bus.Bus, ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		_, err := b.PublishDomain(ctx, userCreated("u-1"))
		return err
	}
	for what, c := range map[string]struct {
		fail    error
		publish func(*bus.Bus, context.Context) error
		class   []string
	}{
		"the event": {nil, func(b *bus.Bus, ctx context.Context) error { _, err := b.PublishDomain(ctx, faulty); return err }, []string{"invalid"}},
		"another of the call": {nil, func(b *bus.Bus, ctx context.Context) error {
			_, err := b.PublishAll(ctx, loggedIn(), faulty)
			return err
		}, []string{"invalid", "invalid"}},
		"a topic's name has none": {nil, func(b *bus.Bus, ctx context.Context) error {
			_, err := b.PublishCustom(ctx, envelopes.Custom{Topic: "a b", EventType: "x"})
			return err
		}, nil},
		"a call too late has none": {nil, cancelled, nil},
		"there already":            {fmt.Errorf("x: %w", outbox.ErrDuplicate), func(b *bus.Bus, ctx context.Context) error { _, err := b.PublishAudit(ctx, loggedIn()); return err }, []string{"duplicate"}},
		"the database":             {context.DeadlineExceeded, func(b *bus.Bus, ctx context.Context) error { _, err := b.PublishAudit(ctx, loggedIn()); return err }, []string{"deadline_exceeded"}},
		"a word and no more":       {errors.New("broken"), func(b *bus.Bus, ctx context.Context) error { _, err := b.PublishAudit(ctx, loggedIn()); return err }, []string{"_OTHER"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			tr := newTracer(t)
			b, r := tracedOutbox(t, tr.provider)
			r.refuse = c.fail
			err := c.publish(b, tr.ctx)
			require.Error(t, err)
			spans := tr.spans(t)
			require.Len(t, spans, len(c.class))
			for i, span := range spans {
				require.Equal(t, c.class[i], attributes(span.Attributes())["error.type"])
				require.Equal(t, sdk.Status{Code: codes.Error, Description: err.Error()}, span.Status())
			}
		})
	}
}

// TestAPanicEndsTheSpans: of a value that is encoded, and of the publisher.
func TestAPanicEndsTheSpans(t *testing.T) {
	t.Parallel()
	faulty := userCreated("u-1")
	faulty.EventData = unencodable{}
	for what, c := range map[string]struct {
		events    []envelopes.Event
		publisher message.Publisher
		class     []any
	}{
		"encoding an event":         {[]envelopes.Event{faulty}, &recorder{}, []any{"panic"}},
		"encoding one of several":   {[]envelopes.Event{loggedIn(), faulty, loggedIn()}, &recorder{}, []any{"panic", "panic"}},
		"the publisher of an event": {[]envelopes.Event{loggedIn()}, panicking{}, []any{"panic"}},
		"the publisher of several":  {[]envelopes.Event{loggedIn(), loggedIn()}, panicking{}, []any{nil, nil, "panic"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			tr := newTracer(t)
			registry := prometheus.NewRegistry()
			b, err := bus.New(bus.Config{Service: "user-service", Publisher: c.publisher, Tracer: tr.provider, Metrics: registry})
			require.NoError(t, err)
			require.PanicsWithValue(t, "boom", func() { _, _ = b.PublishAll(tr.ctx, c.events...) })
			classes := make([]any, 0, len(c.class))
			for _, span := range tr.spans(t) {
				classes = append(classes, attributes(span.Attributes())["error.type"])
			}
			require.Equal(t, c.class, classes)
			families, err := registry.Gather()
			require.NoError(t, err)
			require.Len(t, families, 3, "it is counted")
		})
	}
}

type unencodable struct{}

func (unencodable) MarshalJSON() ([]byte, error) { panic("boom") }

type panicking struct{ message.Publisher }

func (panicking) Publish(string, ...*message.Message) error { panic("boom") }

func TestSendingThatFailedHalfWay(t *testing.T) {
	t.Parallel()
	tr := newTracer(t)
	b, r := direct(t, func(c *bus.Config) { c.Tracer = tr.provider })
	r.fail = map[string]error{"marty.audit.events": errors.New("broken")}
	_, err := b.PublishAll(tr.ctx, userCreated("u-1"), loggedIn(), welcome("u-1"))
	require.Error(t, err)
	spans := tr.spans(t)
	require.Len(t, spans, 5, "three were created, two sends tried")
	for i, span := range spans {
		failed := i == 4
		require.Equal(t, failed, span.Status().Code == codes.Error, span.Name())
	}
}

func TestAMessageThatIsCompleteKeepsItsCreationContext(t *testing.T) {
	t.Parallel()
	tr, registry := newTracer(t), prometheus.NewRegistry()
	b, r := direct(t, func(c *bus.Config) { c.Tracer, c.Metrics = tr.provider, registry })
	topic, first, err := b.Message(tr.ctx, userCreated("u-1"))
	require.NoError(t, err)
	comesFrom(t, tr.caller, first)
	require.Empty(t, tr.Started())
	_, second, err := b.Message(tr.ctx, userCreated("u-2"))
	require.NoError(t, err)

	other := context.Background()
	first.SetContext(other)
	require.NoError(t, b.Publisher().Publish(topic, first, second))
	span := tr.only(t)
	require.Equal(t, "send "+userTopic, span.Name())
	require.Equal(t, trace.SpanKindClient, span.SpanKind())
	require.Len(t, span.Links(), 2)
	require.Equal(t, tr.caller, span.Links()[1].SpanContext)
	require.Equal(t, other, r.all[0].msg.Context(), "the message is the caller's")
	require.InEpsilon(t, 2, gathered(t, registry)["events_total{kind=message,outcome=ok,topic="+userTopic+",way=direct}"], 0)
}

// disguised hides what provider it is.
type disguised struct{ trace.TracerProvider }

func (d disguised) Tracer(name string, options ...trace.TracerOption) trace.Tracer {
	return hidden{d.TracerProvider.Tracer(name, options...)}
}

type hidden struct{ trace.Tracer }

// global is the process's provider. OpenTelemetry's cannot be taken back once it is set; this one can be
// changed.
var global switched

type switched struct {
	trace.TracerProvider
	now atomic.Pointer[trace.Tracer]
}

func (s *switched) set(provider trace.TracerProvider) {
	tracer := provider.Tracer("")
	s.now.Store(&tracer)
}

func (s *switched) Tracer(string, ...trace.TracerOption) trace.Tracer { return current{s: s} }

type current struct {
	trace.Tracer
	s *switched
}

func (c current) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	return (*c.s.now.Load()).Start(ctx, name, options...) //nolint:spancheck // the caller's to end
}

func TestTheRowOfATracedEvent(t *testing.T) {
	t.Parallel()
	tr, registry := newTracer(t), prometheus.NewRegistry()
	d := overPostgres(t)
	b, err := bus.New(bus.Config{Service: "user-service", DB: d.db, Tracer: tr.provider, Metrics: registry})
	require.NoError(t, err)
	event := userCreated("u-1")
	event.Metadata.EventID = "e-1"
	ctx := trace.ContextWithSpanContext(d.ctx, tr.caller)
	require.NoError(t, b.Transact(ctx, func(ctx context.Context, _ *sql.Tx) error {
		_, err := b.PublishDomain(ctx, event)
		return err
	}))
	var parent, state string
	require.NoError(t, d.db.QueryRowContext(d.ctx, `SELECT headers->>'traceparent', headers->>'tracestate' FROM event_outbox`).Scan(&parent, &state))
	span := tr.only(t)
	require.Equal(t, parentOf(span.SpanContext()), parent)
	require.Equal(t, "vendor=7", state)

	_, err = b.PublishDomain(ctx, event)
	require.ErrorIs(t, err, bus.ErrDuplicate)
	require.Equal(t, "duplicate", attributes(tr.spans(t)[1].Attributes())["error.type"])

	ended := d.begin(t)
	require.NoError(t, ended.Rollback())
	_, err = b.InTx(ended).PublishAudit(ctx, loggedIn())
	require.ErrorIs(t, err, sql.ErrTxDone)
	require.Equal(t, "transaction_done", attributes(tr.spans(t)[2].Attributes())["error.type"])
	require.Equal(t, map[string]float64{
		"events_total{kind=domain,outcome=ok,topic=user-service.user.user_created,way=outbox}":        1,
		"events_total{kind=domain,outcome=duplicate,topic=user-service.user.user_created,way=outbox}": 1,
		"events_total{kind=audit,outcome=error,topic=audit.events,way=outbox}":                        1,
		"publish_duration_seconds{outcome=ok,way=outbox}":                                             1,
		"publish_duration_seconds{outcome=duplicate,way=outbox}":                                      1,
		"publish_duration_seconds{outcome=error,way=outbox}":                                          1,
		"publish_events{way=outbox}":                                                                  3,
	}, gathered(t, registry))
}
