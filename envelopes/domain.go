package envelopes

import (
	"cmp"
	"encoding/json"
)

const (
	// DefaultEventVersion is the version of a domain event that does not say.
	DefaultEventVersion = 1
	// DefaultSchemaVersion is the schema version of a domain event that does not say.
	DefaultSchemaVersion = "1.0"
)

// Domain says that something happened to an aggregate.
type Domain struct {
	Metadata Metadata
	// AggregateType is what kind of thing it happened to, for instance "user". Required; with the event
	// type it makes the topic.
	AggregateType string
	// AggregateID is which one; it is the record key, so the events of one aggregate keep their order.
	// Required.
	AggregateID string
	// EventType is what happened, for instance "user_created". Required.
	EventType string
	// EventVersion is the version of event_data's shape. Default: 1.
	EventVersion int
	// EventData is any value that encodes as a JSON object. Decoded, it is a json.RawMessage; [DataAs]
	// gives it a type. Default: {}.
	EventData any
	// BusinessContext is any value that encodes as a JSON object. Default: {}.
	BusinessContext any
	// SchemaVersion defaults to "1.0".
	SchemaVersion string
	SchemaURL     string
}

// Meta returns the metadata as set.
func (d Domain) Meta() Metadata { return d.Metadata }

// Describe implements [Event].
func (d Domain) Describe() Description {
	return Description{
		Kind: KindDomain, EventType: d.EventType, AggregateType: d.AggregateType,
		Subject: d.AggregateID, Key: d.AggregateID, Priority: PriorityNormal,
	}
}

func (d Domain) encode(e *encoder) {
	e.raw(`{"aggregate_type":`)
	e.required("payload.aggregate_type", d.AggregateType)
	e.str(d.AggregateType)
	e.raw(`,"aggregate_id":`)
	e.required("payload.aggregate_id", d.AggregateID)
	e.str(d.AggregateID)
	e.raw(`,"event_type":`)
	e.required("event_type", d.EventType)
	e.printable("event_type", d.EventType)
	e.str(d.EventType)
	e.raw(`,"event_version":`)
	if d.EventVersion < 0 {
		e.fault("payload.event_version", "is negative: versions count from 1")
	}
	e.int(cmp.Or(d.EventVersion, DefaultEventVersion))
	e.raw(`,"event_data":`)
	e.object("payload.event_data", d.EventData)
	e.raw(`,"business_context":`)
	e.object("payload.business_context", d.BusinessContext)
	e.raw(`,"schema_version":`)
	e.str(cmp.Or(d.SchemaVersion, DefaultSchemaVersion))
	e.raw(`,"schema_url":`)
	e.nullable(d.SchemaURL)
	e.raw(`}`)
}

// Domain returns the envelope as a domain event. Its values of any type are json.RawMessage, so no number
// loses a digit. The error wraps [ErrInvalid] and lists every field that is missing or of the wrong type.
func (e Envelope) Domain() (Domain, error) {
	o, err := e.payload()
	if err != nil {
		return Domain{}, err
	}
	domain := Domain{
		Metadata:        e.Metadata,
		AggregateType:   o.required("aggregate_type"),
		AggregateID:     o.required("aggregate_id"),
		EventType:       e.EventType,
		EventVersion:    o.int("event_version", DefaultEventVersion),
		EventData:       o.object("event_data"),
		BusinessContext: o.object("business_context"),
		SchemaVersion:   cmp.Or(o.str("schema_version"), DefaultSchemaVersion),
		SchemaURL:       o.str("schema_url"),
	}
	o.str("event_type")
	return orInvalid(domain, o)
}

// DataAs returns a domain event's event_data as T: decoded by encoding/json when it is raw JSON, as it is
// when it is a T already. The error wraps [ErrInvalid] and names the field at fault.
func DataAs[T any](event Domain) (T, error) {
	return as[T]("payload.event_data", event.EventData)
}

// PayloadAs returns an envelope's payload as T, decoded by encoding/json. It is the way to read a custom
// event. The error wraps [ErrInvalid] and names the field at fault.
func PayloadAs[T any](e Envelope) (T, error) {
	return as[T]("payload", e.Payload)
}

func as[T any](field string, value any) (T, error) {
	if same, ok := value.(T); ok {
		return same, nil
	}
	raw, isRaw := value.(json.RawMessage)
	if !isRaw {
		encoded, err := json.Marshal(value)
		if err != nil {
			var none T
			return none, marshalFault(field, err)
		}
		raw = encoded
	}
	var out T
	if len(raw) == 0 {
		raw = json.RawMessage("null")
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		var none T
		return none, unmarshalFault(field, err)
	}
	return out, nil
}
