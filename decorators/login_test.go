package decorators_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/decorators"
)

// credentials are the arguments of the guide's login example.
type credentials struct {
	UserID   string `json:"user_id"`
	Password string `json:"password"`
}

// auth is the guide's AuthService, with an error that tells too much.
type auth struct{ passwords map[string]string }

func (a auth) authenticate(_ context.Context, in credentials) (bool, error) {
	if a.passwords[in.UserID] != in.Password {
		return false, fmt.Errorf("no user %s with the password %s", in.UserID, in.Password)
	}
	return true, nil
}

func byUser(in credentials, _ bool) string { return in.UserID }

// login is the guide's example: on success and on error, nested.
func login(d *decorators.Decorator) func(context.Context, credentials) (bool, error) {
	service := auth{map[string]string{"u-1": "hunter2"}}
	return decorators.Must(decorators.OnSuccess(d, successSpec, byUser,
		decorators.Must(decorators.OnError(d, errorSpec, func(in credentials) string { return in.UserID },
			service.authenticate))))
}

const (
	loggedIn = `{"args":{"user_id":"u-1","password":"[redacted]"},"result":true}`
	refused  = `{"args":{"user_id":"u-1","password":"[redacted]"},"error":{"type":"*errors.errorString","message":"no user u-1 with the password [redacted]"}}`
)

func TestTheGuidesLoginPublishesNoPassword(t *testing.T) {
	t.Parallel()
	t.Run("directly", func(t *testing.T) {
		t.Parallel()
		d := direct(t)
		authenticate := login(d.Decorator)
		ok, err := authenticate(t.Context(), credentials{"u-1", "hunter2"})
		require.NoError(t, err)
		require.True(t, ok)
		_, err = authenticate(t.Context(), credentials{"u-1", "geheim7"})
		require.ErrorContains(t, err, "geheim7", "the caller's error is its own")

		events := d.recorder.Events()
		require.Len(t, events, 2)
		for i, want := range []struct{ eventType, payload string }{{"login_successful", loggedIn}, {"login_failed", refused}} {
			event := events[i]
			require.Equal(t, "marty.auth.events", event.Topic)
			require.Equal(t, want.eventType, event.Envelope.EventType)
			require.Equal(t, want.payload, string(event.Envelope.Payload))
			key, _ := event.Key()
			require.Equal(t, "u-1", key)
			headers, err := json.Marshal(event.Message.Metadata)
			require.NoError(t, err)
			for _, password := range []string{"hunter2", "geheim7"} {
				require.NotContains(t, string(event.Message.Payload), password)
				require.NotContains(t, string(headers), password)
			}
		}
		require.NotContains(t, d.log.String(), "geheim7")
	})
	t.Run("through the outbox", func(t *testing.T) {
		t.Parallel()
		d := outboxed(t, 1)
		authenticate := login(d.Decorator)
		for _, password := range []string{"hunter2", "geheim7"} {
			_ = d.bus.Transact(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
				_, err := authenticate(ctx, credentials{"u-1", password})
				return err
			})
		}
		rows := d.rows(t)
		require.Len(t, rows, 2)
		require.JSONEq(t, loggedIn, string(rows[0].envelope.Payload))
		require.JSONEq(t, refused, string(rows[1].envelope.Payload))
		for _, row := range rows {
			require.Equal(t, "marty.auth.events", row.topic)
			require.Equal(t, "u-1", row.key.String)
			for _, password := range []string{"hunter2", "geheim7"} {
				require.NotContains(t, row.text+row.headers+row.key.String, password)
			}
		}
	})
}
