package decorators_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/decorators"
)

// users is a service with a method of each shape.
type users struct{ err error }

func (u *users) both(_ context.Context, in user) (*user, error) { return &in, u.err }
func (u *users) input(context.Context, user) error              { return u.err }
func (u *users) result(context.Context) (*user, error)          { return &user{ID: "u-1"}, u.err }
func (u *users) neither(context.Context) error                  { return u.err }

// use is a function type of an application's own; the decorated function has it, too.
type use func(context.Context, user) (*user, error)

// called is what a test calls, whatever the shape.
type called func(context.Context) error

func fromBoth(f func(context.Context, user) (*user, error), err error) (called, error) {
	return func(ctx context.Context) error {
		_, err := f(ctx, user{ID: "u-1"})
		return err
	}, err
}

func fromInput(f func(context.Context, user) error, err error) (called, error) {
	return func(ctx context.Context) error { return f(ctx, user{ID: "u-1"}) }, err
}

func fromResult(f func(context.Context) (*user, error), err error) (called, error) {
	return func(ctx context.Context) error {
		_, err := f(ctx)
		return err
	}, err
}

func fromNeither(f func(context.Context) error, err error) (called, error) { return f, err }

func outID(out *user) string { return out.ID }

// TestEachKindInEachShape decorates a method value of each shape, writing no type argument.
func TestEachKindInEachShape(t *testing.T) {
	t.Parallel()
	const in, nothing, out = `{"args":{"user_id":"u-1"}`, `{"args":{}`, `"result":{"user_id":"u-1"}`
	const failure = `"error":{"type":"*errors.errorString","message":"refused"}`
	audit := auditSpec
	audit.IncludeArgs, audit.IncludeResult = true, true
	domain := domainSpec
	domain.IncludeResult, domain.IncludeFailures = true, true
	d := direct(t)
	for name, c := range map[string]struct {
		decorate func(d *decorators.Decorator, u *users) (called, error)
		// success and failure are the payloads, "" for no event.
		success, failure string
	}{
		"Audit": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromBoth(decorators.Audit(d, audit, eitherID, u.both))
		}, in + `,` + out + `}`, in + `}`},
		"AuditIn": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromInput(decorators.AuditIn(d, audit, inputID, u.input))
		}, in + `,"result":null}`, in + `}`},
		"AuditOut": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromResult(decorators.AuditOut(d, audit, outID, u.result))
		}, nothing + `,` + out + `}`, nothing + `}`},
		"AuditRun": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromNeither(decorators.AuditRun(d, audit, "u-1", u.neither))
		}, nothing + `,"result":null}`, nothing + `}`},
		"Domain": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromBoth(decorators.Domain(d, domain, eitherID, u.both))
		}, in + `,` + out + `}`, in + `,` + failure + `}`},
		"DomainIn": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromInput(decorators.DomainIn(d, domain, inputID, u.input))
		}, in + `,"result":null}`, in + `,` + failure + `}`},
		"DomainOut": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromResult(decorators.DomainOut(d, domain, outID, u.result))
		}, nothing + `,` + out + `}`, nothing + `,` + failure + `}`},
		"DomainRun": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromNeither(decorators.DomainRun(d, domain, "u-1", u.neither))
		}, nothing + `,"result":null}`, nothing + `,` + failure + `}`},
		"OnSuccess": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromBoth(decorators.OnSuccess(d, successSpec, eitherID, u.both))
		}, in + `,` + out + `}`, ``},
		"OnSuccessIn": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromInput(decorators.OnSuccessIn(d, successSpec, inputID, u.input))
		}, in + `,"result":null}`, ``},
		"OnSuccessOut": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromResult(decorators.OnSuccessOut(d, successSpec, outID, u.result))
		}, nothing + `,` + out + `}`, ``},
		"OnSuccessRun": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromNeither(decorators.OnSuccessRun(d, successSpec, "u-1", u.neither))
		}, nothing + `,"result":null}`, ``},
		"OnError": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromBoth(decorators.OnError(d, errorSpec, inputID, u.both))
		}, ``, in + `,` + failure + `}`},
		"OnErrorIn": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromInput(decorators.OnErrorIn(d, errorSpec, inputID, u.input))
		}, ``, in + `,` + failure + `}`},
		"OnErrorOut": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromResult(decorators.OnErrorOut(d, errorSpec, "u-1", u.result))
		}, ``, nothing + `,` + failure + `}`},
		"OnErrorRun": {func(d *decorators.Decorator, u *users) (called, error) {
			return fromNeither(decorators.OnErrorRun(d, errorSpec, "u-1", u.neither))
		}, ``, nothing + `,` + failure + `}`},
	} {
		for _, err := range []error{nil, errRefused} {
			d.recorder.Reset()
			call, fault := c.decorate(d.Decorator, &users{err})
			require.NoError(t, fault, name)
			require.Equal(t, err, call(t.Context()), name)
			want := c.success
			if err != nil {
				want = c.failure
			}
			if want == "" {
				require.Empty(t, d.recorder.Events(), name)
				continue
			}
			event := d.only(t)
			key, _ := event.Key()
			require.Equal(t, "u-1", key, name)
			payload := string(event.Envelope.Payload)
			require.Contains(t, payload, want, name)
			require.Equal(t, err != nil && strings.HasPrefix(name, "Domain"), strings.HasSuffix(event.Envelope.EventType, "user_created_failed"), name)
		}
	}
	require.Zero(t, d.counted(t, incomplete))
}

func TestADecoratedFunctionHasTheTypeOfTheOriginalAndNests(t *testing.T) {
	t.Parallel()
	d := direct(t)
	var original use = echo
	var all use //nolint:staticcheck // That it can be assigned is the test.
	all = decorators.Must(decorators.OnSuccess(d.Decorator, successSpec, eitherID,
		decorators.Must(decorators.OnError(d.Decorator, errorSpec, inputID,
			decorators.Must(decorators.Domain(d.Decorator, domainSpec, eitherID,
				decorators.Must(decorators.Audit(d.Decorator, auditSpec, eitherID, original))))))))
	out, err := all(t.Context(), user{ID: "u-1"})
	require.NoError(t, err)
	require.Equal(t, "u-1", out.ID)
	require.Equal(t, []string{"marty.audit.events", "marty.user-service.user.user_created", "marty.auth.events"}, d.recorder.Topics())
}

func TestMustPanicsWithTheMistake(t *testing.T) {
	t.Parallel()
	defer func() { require.ErrorIs(t, recover().(error), decorators.ErrConfig) }()
	decorators.Must(decorators.OnError(direct(t).Decorator, decorators.ErrorSpec{}, inputID, echo))
}
