package envelopes

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// MaxEventID is the greatest length of an event id, in characters (the outbox's event_id column).
const MaxEventID = 255

// Metadata is what every event carries beside its payload. An empty string is emitted as null; on
// reading, null and a missing optional field are the empty string.
type Metadata struct {
	// EventID identifies the event, at most 255 characters. A bus makes a UUIDv7 when it is empty.
	EventID string
	// Timestamp is when it happened; it is emitted in UTC with microseconds. A bus takes the time of
	// publishing when it is zero.
	Timestamp time.Time
	// ServiceName and ServiceVersion say who published it. A bus fills in its own.
	ServiceName    string
	ServiceVersion string
	// CorrelationID is shared by everything one request caused.
	CorrelationID string
	// CausationID is the id of the event that caused this one.
	CausationID string
	UserID      string
	SessionID   string
	// TraceID and SpanID are W3C trace-context ids, 32 and 16 hexadecimal digits.
	TraceID   string
	SpanID    string
	RequestID string
	// Priority defaults to high for notifications and normal for the rest.
	Priority  Priority
	SourceIP  string
	UserAgent string
	// CustomHeaders are the application's own. They travel in the envelope, not as record headers.
	CustomHeaders map[string]string
}

// NewID returns a new event id: a UUIDv7 (RFC 9562), so that ids made one after another sort that way.
func NewID() string {
	// It fails only when the machine has no randomness, where nothing else would work either.
	return uuid.Must(uuid.NewV7()).String()
}

// TraceParent returns the W3C traceparent of the metadata's trace and span id, with the given trace flags,
// or "" when either is missing or not an id of that form.
func (m *Metadata) TraceParent(flags byte) string {
	if !traceHex(m.TraceID, 32) || !traceHex(m.SpanID, 16) {
		return ""
	}
	return "00-" + m.TraceID + "-" + m.SpanID + "-" + string([]byte{hexDigits[flags>>4], hexDigits[flags&15]})
}

func traceHex(id string, length int) bool {
	if len(id) != length {
		return false
	}
	zero := true
	for i := range len(id) {
		if (id[i] < '0' || id[i] > '9') && (id[i] < 'a' || id[i] > 'f') {
			return false
		}
		zero = zero && id[i] == '0'
	}
	return !zero
}

func (m *Metadata) encode(e *encoder, fallback Priority) {
	switch {
	case m.EventID == "":
		e.fault("metadata.event_id", "is missing: set it, or publish through a bus, which makes one")
	case utf8.RuneCountInString(m.EventID) > MaxEventID:
		e.fault("metadata.event_id", "has more than 255 characters")
	default:
		e.printable("metadata.event_id", m.EventID)
	}
	e.raw(`{"metadata":{"event_id":`)
	e.str(m.EventID)
	e.raw(`,"timestamp":`)
	if m.Timestamp.IsZero() {
		e.fault("metadata.timestamp", "is missing: set it, or publish through a bus, which takes the clock's")
	}
	e.time("metadata.timestamp", m.Timestamp)
	e.raw(`,"service_name":`)
	e.required("metadata.service_name", m.ServiceName)
	e.str(m.ServiceName)
	e.raw(`,"service_version":`)
	e.nullable(m.ServiceVersion)
	e.raw(`,"correlation_id":`)
	e.nullable(m.CorrelationID)
	e.raw(`,"causation_id":`)
	e.nullable(m.CausationID)
	e.raw(`,"user_id":`)
	e.nullable(m.UserID)
	e.raw(`,"session_id":`)
	e.nullable(m.SessionID)
	e.raw(`,"trace_id":`)
	e.nullable(m.TraceID)
	e.raw(`,"span_id":`)
	e.nullable(m.SpanID)
	e.raw(`,"request_id":`)
	e.nullable(m.RequestID)
	e.raw(`,"priority":`)
	priority := m.Priority
	if priority == "" {
		priority = fallback
	}
	switch priority {
	case PriorityLow, PriorityNormal, PriorityHigh, PriorityCritical:
	default:
		e.fault("metadata.priority", "is not one of low, normal, high, critical")
	}
	e.str(string(priority))
	e.raw(`,"source_ip":`)
	e.nullable(m.SourceIP)
	e.raw(`,"user_agent":`)
	e.nullable(m.UserAgent)
	e.raw(`,"custom_headers":`)
	e.stringMap(m.CustomHeaders)
	e.raw(`}`)
}

func decodeMetadata(o *object) Metadata {
	return Metadata{
		EventID:        o.required("event_id"),
		Timestamp:      o.requiredTime("timestamp"),
		ServiceName:    o.required("service_name"),
		ServiceVersion: o.str("service_version"),
		CorrelationID:  o.str("correlation_id"),
		CausationID:    o.str("causation_id"),
		UserID:         o.str("user_id"),
		SessionID:      o.str("session_id"),
		TraceID:        o.str("trace_id"),
		SpanID:         o.str("span_id"),
		RequestID:      o.str("request_id"),
		Priority:       decodePriority(o.str("priority")),
		SourceIP:       o.str("source_ip"),
		UserAgent:      o.str("user_agent"),
		CustomHeaders:  o.stringMap("custom_headers"),
	}
}

// decodePriority undoes the first defect of the older publisher, which wrote the name of its enumeration:
// "EventPriority.NORMAL". A record without a priority is a normal one.
func decodePriority(value string) Priority {
	if name, defect := strings.CutPrefix(value, "EventPriority."); defect {
		return Priority(strings.ToLower(name))
	}
	if value == "" {
		return PriorityNormal
	}
	return Priority(value)
}
