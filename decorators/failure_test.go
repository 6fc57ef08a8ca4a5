package decorators_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/decorators"
)

func reader(text string) io.Reader { return strings.NewReader(text) }

type coded struct{ code, text string }

func (c *coded) Error() string { return c.text }
func (c *coded) Code() string  { return c.code }

// deep is an error whose methods read what a nil pointer does not have.
type deep struct{ inner error }

func (d *deep) Error() string { return "deep: " + d.inner.Error() }
func (d *deep) Unwrap() error { return d.inner }

// moody is an error that has a text, but no code when it is asked.
type moody struct{ error }

func (moody) Code() string { panic("no code") }

// audited is the code and the message of the audit event of a call that fails so, and the type and the
// message in the payload of the custom event.
func audited(t *testing.T, in user, fail func() error) (code, message, typ, text string) {
	t.Helper()
	d := direct(t)
	f := func(context.Context, user) (*user, error) { return nil, fail() }
	both := decorators.Must(decorators.OnError(d.Decorator, errorSpec, inputID, decorators.Must(decorators.Audit(d.Decorator, auditSpec, eitherID, f))))
	func() {
		defer func() { _ = recover() }()
		_, _ = both(t.Context(), in)
	}()
	events := d.recorder.Events()
	require.Len(t, events, 2)
	audit, err := events[0].Envelope.Audit()
	require.NoError(t, err)
	require.True(t, audit.Failed)
	var payload struct {
		Error struct{ Type, Message string }
	}
	require.NoError(t, json.Unmarshal(events[1].Envelope.Payload, &payload))
	return audit.ErrorCode, audit.ErrorMessage, payload.Error.Type, payload.Error.Message
}

func TestWhatAnEventSaysOfAnError(t *testing.T) {
	t.Parallel()
	var (
		nothing *coded
		nowhere *deep
	)
	for _, c := range []struct {
		shows              string
		fail               func() error
		code, message, typ string
	}{
		{"its type, without a code", func() error { return errRefused }, "*errors.errorString", "refused", "*errors.errorString"},
		{"its own code", func() error { return &coded{"E7", "no"} }, "E7", "no", "*decorators_test.coded"},
		{"the code and the type of what is wrapped", func() error { return fmt.Errorf("a: %w", fmt.Errorf("b: %w", &coded{"E7", "no"})) }, "E7", "a: b: no", "*decorators_test.coded"},
		{"an empty code is none", func() error { return &coded{"", "no"} }, "*decorators_test.coded", "no", "*decorators_test.coded"},
		{"PostgreSQL's code", func() error { return fmt.Errorf("a: %w", &pq.Error{Code: "23505", Message: "duplicate"}) }, "23505", "a: pq: duplicate (23505)", "*pq.Error"},
		{"several errors", func() error { return errors.Join(errRefused, &coded{"E7", "no"}) }, "E7", "refused\nno", "*errors.joinError"},
		{"an error that is a nil pointer", func() error { return nothing }, "*decorators_test.coded", "", "*decorators_test.coded"},
		{"one that cannot even be unwrapped", func() error { return nowhere }, "*decorators_test.deep", "", "*decorators_test.deep"},
		{"an error whose code panics", func() error { return moody{errRefused} }, "decorators_test.moody", "refused", "decorators_test.moody"},
		{"a panic with an error that is a nil pointer", func() error { panic(nowhere) }, "panic", "panic: ", "panic"},
		{"a panic", func() error { panic("broken") }, "panic", "panic: broken", "panic"},
		{"a panic with an error", func() error { panic(&coded{"E7", "no"}) }, "E7", "panic: no", "panic"},
	} {
		t.Run(c.shows, func(t *testing.T) {
			t.Parallel()
			code, message, typ, text := audited(t, user{ID: "u-1"}, c.fail)
			require.Equal(t, []string{c.code, c.message, c.typ, c.message}, []string{code, message, typ, text})
		})
	}
}

func TestAnErrorDoesNotTellWhatTheArgsDoNot(t *testing.T) {
	t.Parallel()
	in := user{ID: "u-1", Password: "hunter2"}
	for _, fail := range []func() error{
		func() error { return fmt.Errorf("wrong password %q", in.Password) },
		func() error { return &coded{"E hunter2", "dial password=hunter2 host=db"} },
		func() error { panic("wrong: " + in.Password) },
	} {
		for _, said := range four(audited(t, in, fail)) {
			require.NotContains(t, said, "hunter2")
		}
	}
}

func four(a, b, c, d string) []string { return []string{a, b, c, d} }

// TestAPanicGoesOn with the value it had, through both decorators, which publish.
func TestAPanicGoesOn(t *testing.T) {
	t.Parallel()
	value := &coded{"E7", "no"}
	d := direct(t)
	f := func(context.Context, user) (*user, error) { panic(value) }
	domain := domainSpec
	domain.IncludeFailures = true
	all := decorators.Must(decorators.OnSuccess(d.Decorator, successSpec, eitherID,
		decorators.Must(decorators.OnError(d.Decorator, errorSpec, inputID,
			decorators.Must(decorators.Domain(d.Decorator, domain, eitherID,
				decorators.Must(decorators.Audit(d.Decorator, auditSpec, eitherID, f))))))))
	require.PanicsWithValue(t, value, func() { _, _ = all(t.Context(), user{ID: "u-1"}) })
	require.Equal(t, []string{"marty.audit.events", "marty.user-service.user.user_created_failed", "marty.auth.events"}, d.recorder.Topics())

	d.recorder.Fail(errors.New("broker away"))
	require.PanicsWithValue(t, value, func() { _, _ = all(t.Context(), user{ID: "u-1"}) }, "also when nothing can be published")
	require.Equal(t, 3, d.counted(t, unpublished))

	// Nobody can be told by an error, whatever the policy: it is logged.
	d = direct(t)
	d.recorder.Fail(errors.New("broker away"))
	spec := auditSpec
	spec.Policy = decorators.PolicyReturn
	told := decorators.Must(decorators.Audit(d.Decorator, spec, eitherID, f))
	require.PanicsWithValue(t, value, func() { _, _ = told(t.Context(), user{ID: "u-1"}) })
	require.Contains(t, d.log.String(), "broker away")
}

// Since Go 1.21 its value is a *runtime.PanicNilError.
func TestAPanicWithNilGoesOn(t *testing.T) {
	t.Parallel()
	d := direct(t)
	f := decorators.Must(decorators.OnErrorRun(d.Decorator, errorSpec, "", func(context.Context) error { panic(nil) })) //nolint:govet // That is the case.
	require.Panics(t, func() { _ = f(t.Context()) })
	require.Contains(t, string(d.only(t).Envelope.Payload), `"type":"panic"`)
}

func TestTheEndOfTheGoroutineIsNotStopped(t *testing.T) {
	t.Parallel()
	d := direct(t)
	f := decorators.Must(decorators.OnErrorRun(d.Decorator, errorSpec, "", func(context.Context) error {
		runtime.Goexit()
		return nil
	}))
	done, survived := make(chan struct{}), false
	go func() {
		defer close(done)
		_ = f(context.Background())
		survived = true
	}()
	<-done
	require.False(t, survived)
	require.Contains(t, string(d.only(t).Envelope.Payload), `"type":"runtime.Goexit"`)
}
