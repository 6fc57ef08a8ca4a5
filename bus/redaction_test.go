package bus_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/envelopes/redact"
)

type credentials struct {
	User string `json:"user"`
	PIN  string `json:"pin" redact:"true"`
}

// telling is an audit event with a secret in all that it tells.
func telling() envelopes.Audit {
	event := loggedIn()
	event.OperationDetails = map[string]any{"email": "user@example.com", "password": "hunter2", "who": credentials{"ada", "hunter2"}}
	event.PreviousState = []any{map[string]string{"api_key": "hunter2"}}
	event.NewState = json.RawMessage(`{"deep":{"cardNumber":"hunter2"},"n":9007199254740993}`)
	event.SecurityContext = credentials{"ada", "hunter2"}
	return event
}

func TestAnAuditEventTellsNoSecrets(t *testing.T) {
	t.Parallel()
	event := telling()
	for name, given := range map[string]envelopes.Event{"by value": event, "by pointer": &event} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, r := direct(t)
			_, err := b.PublishAll(context.Background(), given)
			require.NoError(t, err)
			_, envelope, msg := r.only(t)
			require.NotContains(t, string(msg.Payload), "hunter2")
			audit, err := envelope.Audit()
			require.NoError(t, err)
			require.JSONEq(t, `{"email":"user@example.com","password":"[redacted]","who":{"user":"ada","pin":"[redacted]"}}`, text(audit.OperationDetails))
			require.JSONEq(t, `[{"api_key":"[redacted]"}]`, text(audit.PreviousState))
			require.Contains(t, text(audit.NewState), `{"cardNumber":"[redacted]"},"n":9007199254740993`)
			require.JSONEq(t, `{"user":"ada","pin":"[redacted]"}`, text(audit.SecurityContext))
		})
	}
	require.Equal(t, credentials{"ada", "hunter2"}, event.SecurityContext, "the caller's event is untouched")
}

func text(value any) string {
	raw, _ := value.(json.RawMessage)
	return string(raw)
}

func TestRedactionCutsNothingAndCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	b, r := direct(t)
	event := loggedIn()
	event.OperationDetails = map[string]string{"note": strings.Repeat("x", 100_000)}
	_, err := b.PublishAudit(context.Background(), event)
	require.NoError(t, err)
	_, _, msg := r.only(t)
	require.Greater(t, len(msg.Payload), 100_000)

	open, all := direct(t, func(c *bus.Config) { c.Redact = redact.None() })
	_, err = open.PublishAudit(context.Background(), telling())
	require.NoError(t, err)
	_, _, msg = all.only(t)
	require.Equal(t, 5, strings.Count(string(msg.Payload), "hunter2"))
}

func TestWhatCannotBeEncodedIsStillNamed(t *testing.T) {
	t.Parallel()
	b, _ := direct(t)
	event := loggedIn()
	event.OperationDetails = map[string]any{"f": func() {}}
	event.NewState = make(chan int)
	_, err := b.PublishAudit(context.Background(), event)
	require.ErrorIs(t, err, envelopes.ErrInvalid)
	require.ErrorContains(t, err, "operation_details")
	require.ErrorContains(t, err, "new_state")
}
