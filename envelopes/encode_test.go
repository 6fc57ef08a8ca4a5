package envelopes_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tailrace-go/tailrace/envelopes"
)

func TestNothingIsEscapedForHTML(t *testing.T) {
	t.Parallel()
	event := sampleDomain()
	event.AggregateID = "<a>&b"
	event.EventData = map[string]any{"html": "<b>&amp;</b>", "raw": json.RawMessage(`"<i>"`)}
	encoded, err := envelopes.Encode(event)
	require.NoError(t, err)
	require.Contains(t, string(encoded), `"aggregate_id":"<a>&b"`)
	require.Contains(t, string(encoded), `"event_data":{"html":"<b>&amp;</b>","raw":"<i>"}`)
}

func TestTimeIsUTCWithMicroseconds(t *testing.T) {
	t.Parallel()
	for want, at := range map[string]time.Time{
		"2024-07-15T07:30:00.000000+00:00": time.Date(2024, 7, 15, 9, 30, 0, 0, time.FixedZone("", 7200)),
		"2024-07-15T09:30:00.123456+00:00": time.Date(2024, 7, 15, 9, 30, 0, 123456999, time.UTC),
	} {
		event := sampleDomain()
		event.Metadata.Timestamp = at
		encoded, err := envelopes.Encode(event)
		require.NoError(t, err)
		require.Contains(t, string(encoded), `"timestamp":"`+want+`"`)
	}
}

func TestDefaultPriorities(t *testing.T) {
	t.Parallel()
	for name, event := range samples() {
		encoded, err := envelopes.Encode(event)
		require.NoError(t, err)
		want := envelopes.PriorityNormal
		if name == "notification" {
			want = envelopes.PriorityHigh
		}
		require.Contains(t, string(encoded), `"priority":"`+string(want)+`"`, name)
	}
	event := samples()["notification"].(envelopes.Notification)
	event.Metadata.Priority = envelopes.PriorityLow
	encoded, err := envelopes.Encode(event)
	require.NoError(t, err)
	require.Contains(t, string(encoded), `"priority":"low"`)
}

func TestNothingGivenIsAnEmptyObject(t *testing.T) {
	t.Parallel()
	for what, nothing := range map[string]any{
		"nil": nil, "nil map": map[string]any(nil), "nil pointer": (*created)(nil), "raw null": json.RawMessage("null"),
		"nil raw": json.RawMessage(nil), "empty raw": json.RawMessage{}, "raw object": json.RawMessage(" { } "),
	} {
		event := sampleDomain()
		event.EventData = nothing
		encoded, err := envelopes.Encode(event)
		require.NoError(t, err, what)
		require.Contains(t, string(encoded), `"event_data":{},"business_context":{}`, what)
	}
}

type refuses struct{}

var errRefused = errors.New("refused " + secret)

func (refuses) MarshalJSON() ([]byte, error) { return nil, errRefused }

func TestValidationListsAllFaults(t *testing.T) {
	t.Parallel()
	loop := map[string]any{}
	loop["self"] = loop
	for what, c := range map[string]struct {
		event envelopes.Event
		want  []string
	}{
		"empty audit": {envelopes.Audit{}, []string{
			"metadata.event_id is missing", "metadata.timestamp is missing",
			"metadata.service_name is missing", "event_type is missing", "payload.action is missing", "payload.resource_type is missing",
		}},
		"empty notification": {envelopes.Notification{}, []string{
			"event_type is missing",
			"payload.recipient_type is not one of user, admin, system", "payload.message is missing: set it, or message_template",
		}},
		"empty domain": {envelopes.Domain{}, []string{"payload.aggregate_type is missing", "payload.aggregate_id is missing", "event_type is missing"}},
		"empty custom": {envelopes.Custom{}, []string{"event_type is missing"}},
		"outside the closed sets": {envelopes.Notification{
			Metadata: envelopes.Metadata{Priority: "urgent"}, RecipientType: "group", Channels: []envelopes.Channel{"email", "pigeon"},
			RecipientIDs: []string{"a", ""},
		}, []string{"metadata.priority is not one of", "payload.recipient_type is not one of", "payload.channels[1] is not one of", "payload.recipient_ids[1] is empty"}},
		"risk": {envelopes.Audit{RiskLevel: "extreme"}, []string{"payload.risk_level is not one of low, medium, high, critical"}},
		"values that are not JSON": {envelopes.Audit{
			OperationDetails: map[string]any{"x": math.NaN()}, SecurityContext: make(chan int),
			PreviousState: refuses{}, NewState: json.RawMessage("{" + secret),
		}, []string{
			"payload.operation_details has NaN, which is not JSON: use null or a string",
			"payload.security_context has a value of type chan int", "payload.previous_state has a value of type envelopes_test.refuses whose own JSON encoding failed",
			"payload.new_state is a json.RawMessage that is not JSON",
		}},
		"a loop":        {envelopes.Custom{Payload: loop}, []string{"payload refers to itself"}},
		"infinity":      {envelopes.Custom{Payload: math.Inf(-1)}, []string{"payload has -Inf, which is not JSON"}},
		"not an object": {envelopes.Domain{EventData: []int{1}, BusinessContext: "x", EventVersion: -1}, []string{"payload.event_data is an array", "payload.business_context is a string", "payload.event_version is negative"}},
		"event id": {
			envelopes.Domain{Metadata: envelopes.Metadata{EventID: strings.Repeat("é", 256)}},
			[]string{"metadata.event_id has more than 255 characters"},
		},
		"event id with a newline": {
			envelopes.Domain{Metadata: envelopes.Metadata{EventID: "a\nb"}, EventType: "a\x00"},
			[]string{"metadata.event_id has a control character", "event_type has a control character"},
		},
		"event id that is not UTF-8": {envelopes.Domain{Metadata: envelopes.Metadata{EventID: "\xff"}}, []string{"metadata.event_id is not UTF-8"}},
		"year 10000":                 {envelopes.Domain{Metadata: envelopes.Metadata{Timestamp: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}, []string{"metadata.timestamp is outside the years"}},
	} {
		t.Run(what, func(t *testing.T) {
			err := envelopes.Validate(c.event)
			require.ErrorIs(t, err, envelopes.ErrInvalid)
			for _, want := range c.want {
				require.ErrorContains(t, err, "envelopes: "+want)
			}
			require.NotContains(t, err.Error(), secret)
		})
	}
	require.ErrorIs(t, envelopes.Validate(envelopes.Custom{Payload: refuses{}}), errRefused, "the cause is there for errors.Is")
	for name, event := range samples() {
		require.NoError(t, envelopes.Validate(event), name)
	}
}

func TestAnEventIDOfTheCallersIsKept(t *testing.T) {
	t.Parallel()
	event := sampleDomain()
	event.Metadata.EventID = strings.Repeat("é", 255)
	encoded, err := envelopes.Encode(event)
	require.NoError(t, err)
	envelope, err := envelopes.Decode(encoded)
	require.NoError(t, err)
	require.Equal(t, event.Metadata.EventID, envelope.Metadata.EventID)
}

func TestRecordKeys(t *testing.T) {
	t.Parallel()
	id := envelopes.Metadata{EventID: "id"}
	for what, c := range map[string]struct {
		event envelopes.Event
		want  string
	}{
		"audit":                 {envelopes.Audit{Metadata: id, ResourceID: "r"}, "r"},
		"audit of no resource":  {envelopes.Audit{Metadata: id}, ""},
		"notification to one":   {envelopes.Notification{Metadata: id, RecipientIDs: []string{"u"}}, "u"},
		"notification to two":   {envelopes.Notification{Metadata: id, RecipientIDs: []string{"u", "v"}}, "id"},
		"notification to none":  {envelopes.Notification{Metadata: id}, "id"},
		"domain":                {envelopes.Domain{Metadata: id, AggregateID: "a"}, "a"},
		"custom":                {envelopes.Custom{Metadata: id, Key: "k"}, "k"},
		"custom without":        {envelopes.Custom{Metadata: id}, ""},
		"a pointer is an event": {&envelopes.Custom{Metadata: id, Key: "k"}, "k"},
	} {
		require.Equal(t, c.want, envelopes.RecordKey(c.event), what)
	}
}

func TestIDsSortByTime(t *testing.T) {
	t.Parallel()
	last := ""
	for range 1000 {
		id := envelopes.NewID()
		require.Len(t, id, 36)
		require.Equal(t, byte('7'), id[14], "version 7")
		require.Greater(t, id, last)
		last = id
	}
}

// plainDomain is the domain envelope as encoding/json alone would write it.
type plainDomain struct {
	Metadata struct {
		EventID       string            `json:"event_id"`
		Timestamp     string            `json:"timestamp"`
		ServiceName   string            `json:"service_name"`
		Version       *string           `json:"service_version"`
		CorrelationID *string           `json:"correlation_id"`
		CausationID   *string           `json:"causation_id"`
		UserID        *string           `json:"user_id"`
		SessionID     *string           `json:"session_id"`
		TraceID       *string           `json:"trace_id"`
		SpanID        *string           `json:"span_id"`
		RequestID     *string           `json:"request_id"`
		Priority      string            `json:"priority"`
		SourceIP      *string           `json:"source_ip"`
		UserAgent     *string           `json:"user_agent"`
		CustomHeaders map[string]string `json:"custom_headers"`
	} `json:"metadata"`
	EventType string `json:"event_type"`
	Payload   struct {
		AggregateType   string  `json:"aggregate_type"`
		AggregateID     string  `json:"aggregate_id"`
		EventType       string  `json:"event_type"`
		EventVersion    int     `json:"event_version"`
		EventData       any     `json:"event_data"`
		BusinessContext any     `json:"business_context"`
		SchemaVersion   string  `json:"schema_version"`
		SchemaURL       *string `json:"schema_url"`
	} `json:"payload"`
}

func plain(d envelopes.Domain) plainDomain {
	null := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	var p plainDomain
	m, pm := d.Metadata, &p.Metadata
	pm.EventID, pm.Timestamp, pm.ServiceName, pm.Version = m.EventID, m.Timestamp.UTC().Format("2006-01-02T15:04:05.000000-07:00"), m.ServiceName, null(m.ServiceVersion)
	pm.CorrelationID, pm.CausationID, pm.UserID, pm.SessionID = null(m.CorrelationID), null(m.CausationID), null(m.UserID), null(m.SessionID)
	pm.TraceID, pm.SpanID, pm.RequestID, pm.Priority = null(m.TraceID), null(m.SpanID), null(m.RequestID), "normal"
	pm.SourceIP, pm.UserAgent, pm.CustomHeaders = null(m.SourceIP), null(m.UserAgent), m.CustomHeaders
	if pm.CustomHeaders == nil {
		pm.CustomHeaders = map[string]string{}
	}
	p.EventType = d.EventType
	pp := &p.Payload
	pp.AggregateType, pp.AggregateID, pp.EventType, pp.EventVersion = d.AggregateType, d.AggregateID, d.EventType, max(d.EventVersion, 1)
	pp.EventData, pp.BusinessContext, pp.SchemaVersion, pp.SchemaURL = d.EventData, d.BusinessContext, d.SchemaVersion, null(d.SchemaURL)
	if pp.BusinessContext == nil {
		pp.BusinessContext = struct{}{}
	}
	if pp.SchemaVersion == "" {
		pp.SchemaVersion = "1.0"
	}
	return p
}

func encodePlain(t require.TestingT, d envelopes.Domain) []byte {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	require.NoError(t, encoder.Encode(plain(d)))
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func TestHandWrittenPartsEqualEncodingJSON(t *testing.T) {
	t.Parallel()
	// Any bytes, not only UTF-8, and all that JSON escapes.
	odd := rapid.OneOf(rapid.String(), rapid.Just("\u2028\u2029<>&\"\\\x00\x1f\x7f\b\f\n\r\t"),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		event := sampleDomain()
		event.Metadata.UserID = odd.Draw(t, "user")
		event.Metadata.UserAgent = odd.Draw(t, "agent")
		event.Metadata.CustomHeaders = rapid.MapOf(rapid.String(), odd).Draw(t, "headers")
		event.AggregateID = "x" + odd.Draw(t, "aggregate")
		event.EventVersion = rapid.IntRange(0, math.MaxInt).Draw(t, "version")
		event.EventData = map[string]any{"a": odd.Draw(t, "data")}
		encoded, err := envelopes.Encode(event)
		require.NoError(t, err)
		require.Equal(t, string(encodePlain(t, event)), string(encoded))
	})
}

func TestAFailedEncodingLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	want, err := envelopes.Encode(sampleDomain())
	require.NoError(t, err)
	for range 100 {
		bad := sampleDomain()
		bad.EventData = math.NaN()
		require.Error(t, envelopes.Validate(bad))
		got, err := envelopes.Encode(sampleDomain())
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}
