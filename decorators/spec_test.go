package decorators_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

func TestMistakesAreReportedAtOnceAndBeforeAnyCall(t *testing.T) {
	t.Parallel()
	d := direct(t)
	var missing func(context.Context, user) (*user, error)
	long := strings.Repeat("x", topics.MaxLength-len("marty.user-service.user.")-len("_failed")+1)
	for _, c := range []struct {
		shows  string
		err    error
		faults []string
	}{
		{
			"an empty audit", second(decorators.Audit(d.Decorator, decorators.AuditSpec{}, nil, missing)),
			[]string{"EventType is empty", "Action is empty", "ResourceType is empty", "the function is nil"},
		},
		{
			"an audit that the envelope refuses",
			second(decorators.Audit(d.Decorator, decorators.AuditSpec{
				EventType: "a\nb", Action: "a", ResourceType: "b", RiskLevel: "some", Priority: "none", Policy: 9,
			}, eitherID, echo)),
			[]string{"event_type has a control character", "risk_level", "priority", "Policy is 9"},
		},
		{
			"an empty domain event", second(decorators.Domain(d.Decorator, decorators.DomainSpec{EventVersion: -1}, nil, missing)),
			[]string{"AggregateType is empty", "EventType is empty", "event_version is negative", "no aggregate id", "the function is nil"},
		},
		{"no aggregate id for any call", second(decorators.DomainRun(d.Decorator, domainSpec, "", (&users{}).neither)), []string{"no aggregate id"}},
		{
			"names that Kafka refuses",
			second(decorators.Domain(d.Decorator, decorators.DomainSpec{AggregateType: "us er", EventType: "created"}, eitherID, echo)),
			[]string{`"us er" has ' ' at position 3`},
		},
		{
			"a topic that is too long only for failures",
			second(decorators.Domain(d.Decorator, decorators.DomainSpec{AggregateType: "user", EventType: long, IncludeFailures: true}, eitherID, echo)),
			[]string{"shorten it by 1"},
		},
		{
			"an empty success", second(decorators.OnSuccess(d.Decorator, decorators.SuccessSpec{Policy: 7}, nil, missing)),
			[]string{"EventType is empty", "topic is empty", "Policy is 7", "the function is nil"},
		},
		{
			"an empty error", second(decorators.OnError(d.Decorator, decorators.ErrorSpec{Topic: "a/b", Priority: "x"}, nil, missing)),
			[]string{"EventType is empty", `"a/b" has '/'`, "priority", "the function is nil"},
		},
		{
			"no Decorator", second(decorators.OnError(nil, decorators.ErrorSpec{}, nil, echo)),
			[]string{"EventType is empty", "Topic is empty", "the Decorator is nil"},
		},
		{
			"an input without a name", second(decorators.OnErrorIn(d.Decorator, errorSpec, nil, func(context.Context, string) error { return nil })),
			[]string{"the input is a string, which has no name that could say that it is a secret: set ArgName"},
		},
		{
			"a result without a name", second(decorators.OnSuccessOut(d.Decorator, successSpec, nil, func(context.Context) ([]byte, error) { return nil, nil })),
			[]string{"the result is a []uint8, which has no name that could say that it is a secret: set ResultName"},
		},
	} {
		t.Run(c.shows, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, c.err, decorators.ErrConfig)
			for _, fault := range c.faults {
				require.ErrorContains(t, c.err, fault)
			}
			require.Len(t, strings.Split(c.err.Error(), "\n"), len(c.faults), c.err)
		})
	}
	_, err := decorators.Domain(d.Decorator, decorators.DomainSpec{AggregateType: "user", EventType: long}, eitherID, echo)
	require.NoError(t, err, "without failures it fits")
}

func second[F any](_ F, err error) error { return err }

func TestTheConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	_, err := decorators.New(decorators.Config{Timeout: -1})
	require.ErrorIs(t, err, decorators.ErrConfig)
	require.ErrorContains(t, err, "Bus is nil")
	require.ErrorContains(t, err, "Timeout is -1ns")

	taken := prometheus.NewRegistry()
	taken.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: unpublished, Help: "Another."}))
	_, err = decorators.New(decorators.Config{Bus: direct(t).bus, Metrics: taken})
	require.ErrorIs(t, err, decorators.ErrConfig)
	require.ErrorContains(t, err, "Metrics")
}

func TestSeveralDecoratorsCountTogether(t *testing.T) {
	t.Parallel()
	d := direct(t)
	_, err := decorators.New(decorators.Config{Bus: d.bus, Metrics: d.metrics})
	require.NoError(t, err)
}

// TestTheZeroSpecsAreTheTable says what each kind publishes that is told no more than it must.
func TestTheZeroSpecsAreTheTable(t *testing.T) {
	t.Parallel()
	d := direct(t)
	in := user{ID: "u-1", Email: "e"}
	call := func(f func(context.Context, user) (*user, error), err error) {
		require.NoError(t, err)
		d.recorder.Reset()
		_, _ = f(t.Context(), in)
	}
	const args, result = `{"args":{"user_id":"u-1","email":"e"}`, `"result":{"user_id":"u-1","email":"e"}`

	call(decorators.Audit(d.Decorator, auditSpec, eitherID, echo))
	audit, err := d.only(t).Envelope.Audit()
	require.NoError(t, err)
	require.JSONEq(t, `{}`, text(audit.OperationDetails), "an audit has neither args nor result")
	require.False(t, audit.Failed)
	require.Equal(t, envelopes.PriorityNormal, audit.Metadata.Priority)
	require.Equal(t, envelopes.RiskLow, audit.RiskLevel)
	require.Equal(t, []string{"create_user", "user", "u-1"}, []string{audit.Action, audit.ResourceType, audit.ResourceID})
	call(decorators.Audit(d.Decorator, auditSpec, eitherID, refuse))
	audit, err = d.only(t).Envelope.Audit()
	require.NoError(t, err)
	require.True(t, audit.Failed, "and failures, too")
	require.Equal(t, "refused", audit.ErrorMessage)
	require.Equal(t, "*errors.errorString", audit.ErrorCode)
	only := auditSpec
	only.SuccessOnly = true
	call(decorators.Audit(d.Decorator, only, eitherID, refuse))
	bustest.RequireNothing(t, d.recorder)

	call(decorators.Domain(d.Decorator, domainSpec, eitherID, echo))
	domain, err := d.only(t).Envelope.Domain()
	require.NoError(t, err)
	require.JSONEq(t, args+`}`, text(domain.EventData), "a domain event has the args, and not the result")
	require.Equal(t, "u-1", domain.AggregateID)
	call(decorators.Domain(d.Decorator, domainSpec, eitherID, refuse))
	bustest.RequireNothing(t, d.recorder)

	call(decorators.OnSuccess(d.Decorator, successSpec, eitherID, echo))
	require.JSONEq(t, args+`,`+result+`}`, string(d.only(t).Envelope.Payload), "a success has both")
	call(decorators.OnError(d.Decorator, errorSpec, inputID, refuse))
	require.JSONEq(t, args+`,"error":{"type":"*errors.errorString","message":"refused"}}`, string(d.only(t).Envelope.Payload), "an error has both")

	call(decorators.OnSuccess(d.Decorator, decorators.SuccessSpec{Topic: "t", EventType: "e", OmitArgs: true, OmitResult: true}, eitherID, echo))
	require.JSONEq(t, `{}`, string(d.only(t).Envelope.Payload))
	call(decorators.OnError(d.Decorator, decorators.ErrorSpec{Topic: "t", EventType: "e", OmitArgs: true, OmitError: true}, inputID, refuse))
	require.JSONEq(t, `{}`, string(d.only(t).Envelope.Payload))
	call(decorators.Domain(d.Decorator, decorators.DomainSpec{AggregateType: "user", EventType: "E", OmitArgs: true}, eitherID, echo))
	domain, err = d.only(t).Envelope.Domain()
	require.NoError(t, err)
	require.JSONEq(t, `{}`, text(domain.EventData))
}

func text(raw any) string { return string(raw.(json.RawMessage)) }
