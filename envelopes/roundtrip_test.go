package envelopes_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tailrace-go/tailrace/envelopes"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		event := drawEvent(t)
		encoded, err := envelopes.Encode(event)
		require.NoError(t, err)
		envelope, err := envelopes.Decode(encoded)
		require.NoError(t, err)

		var got envelopes.Event
		switch event.(type) {
		case envelopes.Audit:
			got, err = envelope.Audit()
		case envelopes.Notification:
			got, err = envelope.Notification()
		case envelopes.Domain:
			got, err = envelope.Domain()
		}
		require.NoError(t, err)
		require.Equal(t, event, got)
		require.Equal(t, event.Describe().Kind, envelope.Kind())
	})
}

var (
	text     = rapid.String()
	required = rapid.StringN(1, 40, -1)
	id       = rapid.StringMatching(`[a-zA-Z0-9é世-]{1,80}`)
	moment   = rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(0, 250_000_000_000_000_000).Draw(t, "µs")).UTC()
	})
	anyJSON = rapid.Custom(func(t *rapid.T) any {
		encoded, err := json.Marshal(map[string]any{
			"n": rapid.Int64Range(math.MinInt64, math.MaxInt64).Draw(t, "n"), "s": text.Draw(t, "s"), "list": []any{nil, true, 1.5},
		})
		require.NoError(t, err)
		return json.RawMessage(encoded)
	})
)

// drawEvent makes an event with all its defaults spelled out, which is what decoding gives.
func drawEvent(t *rapid.T) envelopes.Event {
	metadata := envelopes.Metadata{
		EventID: id.Draw(t, "id"), Timestamp: moment.Draw(t, "time"), ServiceName: required.Draw(t, "service"),
		ServiceVersion: text.Draw(t, "version"), CorrelationID: text.Draw(t, "correlation"), CausationID: text.Draw(t, "causation"),
		UserID: text.Draw(t, "user"), SessionID: text.Draw(t, "session"), TraceID: text.Draw(t, "trace"), SpanID: text.Draw(t, "span"),
		RequestID: text.Draw(t, "request"), SourceIP: text.Draw(t, "ip"), UserAgent: text.Draw(t, "agent"),
		Priority: rapid.SampledFrom([]envelopes.Priority{"low", "normal", "high", "critical"}).Draw(t, "priority"),
	}
	if headers := rapid.MapOf(text, text).Draw(t, "headers"); len(headers) > 0 {
		metadata.CustomHeaders = headers
	}
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		return envelopes.Audit{
			Metadata: metadata, EventType: envelopes.AuditType(id.Draw(t, "type")), Action: required.Draw(t, "action"),
			ResourceType: required.Draw(t, "resource"), ResourceID: text.Draw(t, "resource id"), OperationDetails: anyJSON.Draw(t, "details"),
			PreviousState: rapid.OneOf(anyJSON, rapid.Just[any](nil)).Draw(t, "previous"), NewState: anyJSON.Draw(t, "new"),
			SecurityContext: anyJSON.Draw(t, "security"), Failed: rapid.Bool().Draw(t, "failed"), ErrorMessage: text.Draw(t, "message"),
			ErrorCode: text.Draw(t, "code"), ComplianceTags: nonEmpty(rapid.SliceOf(text).Draw(t, "tags")),
			RiskLevel: rapid.SampledFrom([]envelopes.RiskLevel{"low", "medium", "high", "critical"}).Draw(t, "risk"),
		}
	case 1:
		n := envelopes.Notification{
			Metadata: metadata, EventType: envelopes.NotificationType(id.Draw(t, "type")),
			RecipientType: rapid.SampledFrom([]envelopes.RecipientType{"user", "admin", "system"}).Draw(t, "recipient"),
			RecipientIDs:  nonEmpty(rapid.SliceOf(required).Draw(t, "recipients")), Subject: text.Draw(t, "subject"),
			Message: required.Draw(t, "message"), MessageTemplate: text.Draw(t, "template"), TemplateVariables: anyJSON.Draw(t, "variables"),
			Channels:  rapid.SliceOfN(rapid.SampledFrom([]envelopes.Channel{"email", "sms", "push", "webhook"}), 1, 4).Draw(t, "channels"),
			ActionURL: text.Draw(t, "url"), ActionLabel: text.Draw(t, "label"),
			Attachments: nonEmpty(rapid.SliceOfN(anyJSON, 0, 2).Draw(t, "attachments")),
		}
		if rapid.Bool().Draw(t, "timed") {
			n.DeliveryTime, n.ExpiryTime = moment.Draw(t, "delivery"), moment.Draw(t, "expiry")
		}
		return n
	default:
		return envelopes.Domain{
			Metadata: metadata, AggregateType: required.Draw(t, "aggregate"), AggregateID: required.Draw(t, "aggregate id"),
			EventType: id.Draw(t, "type"), EventVersion: rapid.IntRange(1, math.MaxInt).Draw(t, "event version"),
			EventData: anyJSON.Draw(t, "data"), BusinessContext: anyJSON.Draw(t, "context"), SchemaVersion: required.Draw(t, "schema"),
			SchemaURL: text.Draw(t, "schema url"),
		}
	}
}

func nonEmpty[T any](values []T) []T {
	if len(values) == 0 {
		return nil
	}
	return values
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"audit", "notification", "domain", "custom", "legacy-audit"} {
		f.Add(readSample(f, name))
	}
	for _, seed := range []string{
		``, `null`, `{}`, `[]`, `{"payload":NaN}`, `{"metadata":{"timestamp":"2024-07-15 "}}`,
		`{"metadata":{"event_id":"\ud800","timestamp":"2024-07-15T00:00:00Z","service_name":"s","custom_headers":{"a":"b"}},"event_type":"t","payload":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		envelope, err := envelopes.Decode(data)
		if err != nil {
			require.ErrorIs(t, err, envelopes.ErrInvalid)
			require.Zero(t, envelope)
			return
		}
		require.True(t, json.Valid(data))
		requireSameAsEncodingJSON(t, data, envelope)
		for _, event := range all(envelope) {
			encoded, err := envelopes.Encode(event)
			if err != nil {
				// What was read may break a rule of publishing, for instance an unknown priority.
				require.ErrorIs(t, err, envelopes.ErrInvalid)
				continue
			}
			again, err := envelopes.Decode(encoded)
			require.NoError(t, err)
			require.Equal(t, envelope.Metadata, again.Metadata)
			require.Equal(t, envelope.EventType, again.EventType)
		}
	})
}

func all(envelope envelopes.Envelope) []envelopes.Event {
	events := []envelopes.Event{envelope.Custom()}
	if audit, err := envelope.Audit(); err == nil {
		events = append(events, audit)
	}
	if notification, err := envelope.Notification(); err == nil {
		events = append(events, notification)
	}
	if domain, err := envelope.Domain(); err == nil {
		events = append(events, domain)
	}
	return events
}
