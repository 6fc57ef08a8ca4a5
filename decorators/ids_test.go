package decorators_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/decorators"
)

func noID(user, *user) string { return "" }

func TestAMissingIDIsLoggedAndCounted(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]func(user, *user) string{
		"none": noID, "a result that a failed call does not have": resultID,
	} {
		d := direct(t)
		audit := decorators.Must(decorators.Audit(d.Decorator, auditSpec, id, refuse))
		_, err := audit(t.Context(), user{ID: "u-1"})
		require.Equal(t, errRefused, err, name)
		event, err := d.only(t).Envelope.Audit()
		require.NoError(t, err)
		require.Empty(t, event.ResourceID, "it is published all the same")
		_, keyed := d.only(t).Key()
		require.False(t, keyed)
		require.Equal(t, 1, d.counted(t, incomplete), name)
		require.Contains(t, d.log.String(), "missing=id", name)
		require.Contains(t, d.log.String(), "level=WARN", name)
	}
	d := direct(t)
	_, err := decorators.Must(decorators.OnSuccess(d.Decorator, successSpec, noID, echo))(t.Context(), user{ID: "u-1"})
	require.NoError(t, err)
	_, keyed := d.only(t).Key()
	require.False(t, keyed, "a null key, not an empty one")
	require.NoError(t, testutil.GatherAndCompare(d.metrics, reader(`
# HELP tailrace_decorators_incomplete_events_total Events of calls without their id, args or result.
# TYPE tailrace_decorators_incomplete_events_total counter
tailrace_decorators_incomplete_events_total{event_type="login_successful",kind="success",missing="id"} 1
`)))
}

func TestNoIDFunctionMeansNoID(t *testing.T) {
	t.Parallel()
	d := direct(t)
	_, err := decorators.Must(decorators.Audit(d.Decorator, auditSpec, nil, echo))(t.Context(), user{ID: "u-1"})
	require.NoError(t, err)
	d.only(t)
	require.Zero(t, d.counted(t, incomplete), "nothing is missing that was not asked for")
}

func TestADomainEventWithoutAggregateIsAnEventNotPublished(t *testing.T) {
	t.Parallel()
	d := direct(t)
	_, err := decorators.Must(decorators.Domain(d.Decorator, domainSpec, noID, echo))(t.Context(), user{})
	require.NoError(t, err, "by default the call's result stands")
	require.Contains(t, d.log.String(), "level=ERROR")
	require.Contains(t, d.log.String(), "no aggregate id")
	require.Equal(t, 1, d.counted(t, unpublished))

	returning := domainSpec
	returning.Policy, returning.IncludeFailures = decorators.PolicyReturn, true
	out, err := decorators.Must(decorators.Domain(d.Decorator, returning, noID, echo))(t.Context(), user{ID: "u-1"})
	require.ErrorIs(t, err, decorators.ErrNotPublished)
	require.ErrorIs(t, err, decorators.ErrNoID)
	require.Equal(t, "u-1", out.ID)
	_, err = decorators.Must(decorators.Domain(d.Decorator, returning, resultID, refuse))(t.Context(), user{ID: "u-1"})
	require.ErrorIs(t, err, errRefused)
	require.ErrorIs(t, err, decorators.ErrNoID)
	require.Equal(t, 3, d.counted(t, unpublished))
	require.Empty(t, d.recorder.Events())
}

func TestAnIDComesFromTheResult(t *testing.T) {
	t.Parallel()
	d := direct(t)
	create := func(context.Context, user) (*user, error) { return &user{ID: "u-9"}, nil }
	_, err := decorators.Must(decorators.Domain(d.Decorator, domainSpec, resultID, create))(t.Context(), user{})
	require.NoError(t, err)
	key, _ := d.only(t).Key()
	require.Equal(t, "u-9", key)
}
