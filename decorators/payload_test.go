package decorators_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/decorators"
	"github.com/tailrace-go/tailrace/envelopes/redact"
)

type (
	userID       string
	sessionToken string
	vaultToken   struct{ text string }
	explosive    struct{}
)

func (v vaultToken) MarshalText() ([]byte, error) { return []byte(v.text), nil }

func (explosive) MarshalJSON() ([]byte, error) { panic("boom") }

// payload is the event of a success of a function that takes in and returns out.
func payload[In, Out any](t *testing.T, spec decorators.SuccessSpec, in In, out Out, change ...func(*decorators.Config)) (string, *testBundle) {
	t.Helper()
	d := direct(t, change...)
	f := decorators.Must(decorators.OnSuccess(d.Decorator, spec, nil, func(context.Context, In) (Out, error) { return out, nil }))
	_, err := f(t.Context(), in)
	require.NoError(t, err)
	return string(d.only(t).Envelope.Payload), d
}

func TestArgsAreAnObjectWhateverTheInput(t *testing.T) {
	t.Parallel()
	named := func(arg, result string) decorators.SuccessSpec {
		spec := successSpec
		spec.ArgName, spec.ResultName = arg, result
		return spec
	}
	id := uuid.MustParse("0191e7c8-0000-7000-8000-000000000001")
	for shows, c := range map[string]struct{ want, got string }{
		"a struct":                        {`{"args":{"user_id":"u"},"result":true}`, one(payload(t, successSpec, user{ID: "u"}, true))},
		"a pointer":                       {`{"args":{"user_id":"u"},"result":1}`, one(payload(t, successSpec, &user{ID: "u"}, 1))},
		"a nil pointer":                   {`{"args":{},"result":null}`, one(payload(t, successSpec, (*user)(nil), (*user)(nil)))},
		"a map":                           {`{"args":{"a":1,"token":"[redacted]"},"result":{"b":2}}`, one(payload(t, successSpec, map[string]int{"a": 1, "token": 2}, map[string]int{"b": 2}))},
		"a string with a name":            {`{"args":{"user_id":"u"},"result":"r"}`, one(payload(t, named("user_id", "id"), "u", "r"))},
		"a string whose name says secret": {`{"args":{"password":"[redacted]"},"result":"[redacted]"}`, one(payload(t, named("password", "access_token"), "u", "r"))},
		"a type with a name":              {`{"args":{"userID":"u"},"result":"u"}`, one(payload(t, successSpec, userID("u"), userID("u")))},
		"a type whose name says secret":   {`{"args":{"sessionToken":"[redacted]"},"result":"[redacted]"}`, one(payload(t, successSpec, sessionToken("u"), []sessionToken{"u"}))},
		"a UUID":                          {`{"args":{"UUID":"` + id.String() + `"},"result":"` + id.String() + `"}`, one(payload(t, successSpec, id, id))},
		"a list with a name":              {`{"args":{"ids":[1,2]},"result":[{"user_id":"u"}]}`, one(payload(t, named("ids", ""), []int{1, 2}, []user{{ID: "u"}}))},
		"a struct that encodes as a text": {`{"args":{"value":"2024-01-01T00:00:00Z"},"result":"2024-01-01T00:00:00Z"}`, one(payload(t, successSpec, time.Unix(1704067200, 0).UTC(), time.Unix(1704067200, 0).UTC()))},
		"a struct that encodes as a text, whose name says secret": {`{"args":{"vaultToken":"[redacted]"},"result":"[redacted]"}`, one(payload(t, successSpec, &vaultToken{"u"}, &vaultToken{"u"}))},
		"anything": {`{"args":{"value":7},"result":"x"}`, one(payload(t, successSpec, any(7), any("x")))},
	} {
		require.Equal(t, c.want, c.got, shows)
	}
}

func one(text string, _ *testBundle) string { return text }

func TestTagsCountInArgsAndResult(t *testing.T) {
	t.Parallel()
	type patient struct {
		ID        string `json:"id"`
		Diagnosis string `json:"diagnosis" redact:"true"`
		More      any    `json:"more,omitempty"`
	}
	p := patient{ID: "p-1", Diagnosis: "S3CRET"}
	got, _ := payload(t, successSpec, patient{"p-1", "S3CRET", map[string]any{"of": []any{&p}}}, map[string]patient{"x": p})
	require.JSONEq(t, `{"args":{"id":"p-1","diagnosis":"[redacted]","more":{"of":[{"id":"p-1","diagnosis":"[redacted]"}]}},`+
		`"result":{"x":{"id":"p-1","diagnosis":"[redacted]"}}}`, got)

	d := direct(t)
	f := decorators.Must(decorators.OnError(d.Decorator, errorSpec, nil, func(_ context.Context, in patient) (int, error) {
		return 0, errors.New("cannot treat " + in.Diagnosis)
	}))
	_, err := f(t.Context(), p)
	require.Error(t, err)
	require.Contains(t, string(d.only(t).Envelope.Payload), `"cannot treat [redacted]"`)
}

func TestWhatCannotBeEncodedIsSaidSo(t *testing.T) {
	t.Parallel()
	got, d := payload(t, successSpec, struct{ C chan int }{make(chan int)}, explosive{})
	require.JSONEq(t, `{"args":{"[not encoded]":"struct { C chan int }"},"result":"[not encoded] decorators_test.explosive"}`, got)
	require.Equal(t, 2, d.counted(t, incomplete))
	require.Contains(t, d.log.String(), "missing=args")
	require.Contains(t, d.log.String(), "missing=result")
}

func TestALargeArgumentIsCut(t *testing.T) {
	t.Parallel()
	got, _ := payload(t, successSpec, user{ID: "u-1", Email: strings.Repeat("x", 100_000)}, true)
	require.Less(t, len(got), redact.DefaultLimit+100)
	require.Contains(t, got, `{"args":{"user_id":"u-1","email":"xxx`)
	require.Contains(t, got, `bytes left out]"},"result":true}`)
	require.True(t, json.Valid([]byte(got)))
}

func TestARedactorOfOnesOwn(t *testing.T) {
	t.Parallel()
	in := user{ID: "u-1", Email: "e", Password: "hunter2"}
	mails, err := redact.New(redact.Config{Names: []string{"email"}})
	require.NoError(t, err)
	got, _ := payload(t, successSpec, in, true, func(c *decorators.Config) { c.Redact = mails })
	require.JSONEq(t, `{"args":{"user_id":"u-1","email":"[redacted]","password":"[redacted]"},"result":true}`, got)
	got, _ = payload(t, successSpec, in, true, func(c *decorators.Config) { c.Redact = redact.None() })
	require.JSONEq(t, `{"args":{"user_id":"u-1","email":"e","password":"hunter2"},"result":true}`, got)
}
