package envelopes

import (
	"bytes"
	"encoding/json"
	"time"
)

// Envelope is an event as it was read: its metadata and type decoded, its payload still JSON.
type Envelope struct {
	Metadata  Metadata
	EventType string
	// Payload is the payload's JSON, untouched.
	Payload json.RawMessage
}

// Decode reads one envelope. Unknown fields are ignored, names match exactly. Three defects of older
// records are mended: the priority "EventPriority.NORMAL", a timestamp with a space in place of T and
// (in [Envelope.Audit] and [Envelope.Notification]) an inner event_type that names an enumeration.
//
// The error wraps [ErrInvalid] and lists every field that is missing or of the wrong type, never content.
func Decode(data []byte) (Envelope, error) {
	o, err := parseObject("", data)
	if err != nil {
		return Envelope{}, err
	}
	envelope := Envelope{EventType: o.required("event_type")}
	if metadata := o.sub("metadata"); metadata != nil {
		envelope.Metadata = decodeMetadata(metadata)
		o.faults = append(o.faults, metadata.faults...)
		metadata.release()
	}
	payload, present := o.raw("payload")
	if !present {
		o.fault("payload", "is missing")
	}
	// The caller may use its buffer again.
	envelope.Payload = bytes.Clone(payload)
	return orInvalid(envelope, o)
}

// Kind tells which kind of event the payload has the shape of.
func (e Envelope) Kind() Kind {
	o, err := e.payload()
	if err != nil {
		return KindCustom
	}
	defer o.release()
	switch {
	case o.has("aggregate_type", "aggregate_id", "event_data"):
		return KindDomain
	case o.has("recipient_type", "recipient_ids", "event_type"):
		return KindNotification
	case o.has("action", "resource_type", "event_type"):
		return KindAudit
	default:
		return KindCustom
	}
}

// MarshalJSON writes the envelope again, with the defects of older records mended in its metadata.
func (e Envelope) MarshalJSON() ([]byte, error) { return Encode(e.Custom()) }

// UnmarshalJSON is [Decode].
func (e *Envelope) UnmarshalJSON(data []byte) error {
	decoded, err := Decode(data)
	if err == nil {
		*e = decoded
	}
	return err
}

func (e Envelope) payload() (*object, error) { return parseObject("payload", e.Payload) }

// parseTime takes RFC 3339 and, as the third defect of older records, a space in place of T.
func parseTime(value string) (time.Time, bool) {
	const dateLength = len("2006-01-02")
	if len(value) > dateLength && value[dateLength] == ' ' {
		value = value[:dateLength] + "T" + value[dateLength+1:]
	}
	t, err := time.Parse(time.RFC3339Nano, value)
	return t.UTC(), err == nil
}
