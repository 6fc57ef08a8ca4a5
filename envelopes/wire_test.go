package envelopes_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes"
)

var sampleTime = time.Date(2024, 7, 15, 9, 30, 0, 123456000, time.UTC)

func sampleMetadata(id string) envelopes.Metadata {
	return envelopes.Metadata{
		EventID: id, Timestamp: sampleTime, ServiceName: "user-service", ServiceVersion: "1.0.0",
		CorrelationID: "req-7f3a", UserID: "admin-1", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		SpanID: "00f067aa0ba902b7", SourceIP: "203.0.113.7", UserAgent: "curl/8.5.0",
	}
}

type created struct {
	Email     string `json:"email"`
	Role      string `json:"role"`
	CreatedAt string `json:"created_at,omitempty"`
}

func sampleDomain() envelopes.Domain {
	return envelopes.Domain{
		Metadata:      sampleMetadata("0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a03"),
		AggregateType: "user", AggregateID: "user-123", EventType: "user_created",
		EventData: created{"user@example.com", "customer", "2024-01-01T00:00:00Z"},
	}
}

func samples() map[string]envelopes.Event {
	return map[string]envelopes.Event{
		"audit": envelopes.Audit{
			Metadata:  sampleMetadata("0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a01"),
			EventType: envelopes.DataCreated, Action: "create_user", ResourceType: "user", ResourceID: "user-123",
			OperationDetails: map[string]any{"user_data": created{Email: "user@example.com", Role: "customer"}},
		},
		"notification": envelopes.Notification{
			Metadata:  sampleMetadata("0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a02"),
			EventType: envelopes.UserWelcome, RecipientType: envelopes.RecipientUser, RecipientIDs: []string{"user-123"},
			Subject: "Welcome to Marty!", Message: "Your account has been created successfully.",
		},
		"domain": sampleDomain(),
		"custom": envelopes.Custom{
			Metadata:  sampleMetadata("0190b5c2-7d3e-7a41-9c55-2f6d0e8b1a04"),
			EventType: "sync_requested",
			Payload:   json.RawMessage(`{"system": "crm", "ids": [1, 2, 3]}`),
		},
	}
}

func readSample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".json")
	require.NoError(t, err)
	return data
}

// tokens lists every delimiter, name and value in order, so that equal lists mean equal names, nesting,
// nulls and order.
func tokens(t testing.TB, data []byte) []json.Token {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var all []json.Token
	for {
		token, err := decoder.Token()
		if err != nil {
			require.Equal(t, "EOF", err.Error())
			return all
		}
		all = append(all, token)
	}
}

func TestEncodingIsTheSampleFieldByField(t *testing.T) {
	t.Parallel()
	for name, event := range samples() {
		t.Run(name, func(t *testing.T) {
			got, err := envelopes.Encode(event)
			require.NoError(t, err)
			require.Equal(t, tokens(t, readSample(t, name)), tokens(t, got))
		})
	}
}

func TestSamplesDecode(t *testing.T) {
	t.Parallel()
	for name, event := range samples() {
		t.Run(name, func(t *testing.T) {
			envelope, err := envelopes.Decode(readSample(t, name))
			require.NoError(t, err)
			require.Equal(t, event.Describe().Kind, envelope.Kind())
			require.Equal(t, event.Describe().EventType, envelope.EventType)

			want := event.Meta()
			want.Priority = event.Describe().Priority
			require.Equal(t, want, envelope.Metadata)

			again, err := envelopes.Encode(decodeEvent(t, envelope))
			require.NoError(t, err)
			require.Equal(t, tokens(t, readSample(t, name)), tokens(t, again), "what was read is what is written")
		})
	}
}

func decodeEvent(t require.TestingT, envelope envelopes.Envelope) envelopes.Event {
	var event envelopes.Event
	var err error
	switch envelope.Kind() {
	case envelopes.KindAudit:
		event, err = envelope.Audit()
	case envelopes.KindNotification:
		event, err = envelope.Notification()
	case envelopes.KindDomain:
		event, err = envelope.Domain()
	default:
		event = envelope.Custom()
	}
	require.NoError(t, err)
	return event
}

func TestTheOldDefectsAreMended(t *testing.T) {
	t.Parallel()
	envelope, err := envelopes.Decode(readSample(t, "legacy-audit"))
	require.NoError(t, err)
	require.Equal(t, envelopes.PriorityNormal, envelope.Metadata.Priority)
	require.Equal(t, sampleTime, envelope.Metadata.Timestamp)
	audit, err := envelope.Audit()
	require.NoError(t, err)
	require.Equal(t, envelopes.UserLogin, audit.EventType)
	require.Empty(t, audit.ResourceID)
	require.False(t, audit.Failed)

	encoded, err := envelopes.Encode(audit)
	require.NoError(t, err)
	for _, defect := range []string{"EventPriority", "AuditEventType", "2024-07-15 "} {
		require.NotContains(t, string(encoded), defect, "never emitted")
	}
	require.Contains(t, string(encoded), `"event_type":"user.login","payload":{"event_type":"user.login",`)

	legacy := bytes.ReplaceAll(readSample(t, "notification"), []byte(`"event_type": "user.welcome"`),
		[]byte(`"event_type": "NotificationEventType.USER_WELCOME"`))
	legacy = bytes.Replace(legacy, []byte(`NotificationEventType.USER_WELCOME`), []byte(`user.welcome`), 1)
	envelope, err = envelopes.Decode(legacy)
	require.NoError(t, err)
	notification, err := envelope.Notification()
	require.NoError(t, err)
	require.Equal(t, envelopes.UserWelcome, notification.EventType)
}

func TestEveryTypeOfTheWireFormat(t *testing.T) {
	t.Parallel()
	require.ElementsMatch(t, []envelopes.AuditType{
		"user.login", "user.logout", "user.login.failed", "permission.denied", "role.changed", "data.accessed",
		"data.created", "data.updated", "data.deleted", "data.exported", "security.violation", "certificate.issued",
		"certificate.revoked", "certificate.validated", "service.started", "service.stopped", "service.error",
		"configuration.changed", "trust.anchored", "trust.revoked", "compliance.checked", "compliance.violation",
	}, []envelopes.AuditType{
		envelopes.UserLogin, envelopes.UserLogout, envelopes.UserLoginFailed, envelopes.PermissionDenied,
		envelopes.RoleChanged, envelopes.DataAccessed, envelopes.DataCreated, envelopes.DataUpdated,
		envelopes.DataDeleted, envelopes.DataExported, envelopes.SecurityViolation, envelopes.CertificateIssued,
		envelopes.CertificateRevoked, envelopes.CertificateValidated, envelopes.ServiceStarted,
		envelopes.ServiceStopped, envelopes.ServiceError, envelopes.ConfigurationChanged, envelopes.TrustAnchored,
		envelopes.TrustRevoked, envelopes.ComplianceChecked, envelopes.ComplianceViolation,
	})
	require.ElementsMatch(t, []envelopes.NotificationType{
		"user.welcome", "user.password.reset", "user.account.locked", "certificate.expiring", "certificate.expired",
		"certificate.renewal.required", "system.maintenance", "system.alert", "backup.completed", "backup.failed",
		"compliance.review.due", "audit.required", "policy.updated",
	}, []envelopes.NotificationType{
		envelopes.UserWelcome, envelopes.UserPasswordReset, envelopes.UserAccountLocked,
		envelopes.CertificateExpiring, envelopes.CertificateExpired, envelopes.CertificateRenewalRequired,
		envelopes.SystemMaintenance, envelopes.SystemAlert, envelopes.BackupCompleted, envelopes.BackupFailed,
		envelopes.ComplianceReviewDue, envelopes.AuditRequired, envelopes.PolicyUpdated,
	})
}
