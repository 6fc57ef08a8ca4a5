package envelopes

// Event is an [Audit], [Notification], [Domain] or [Custom], by value or by pointer. No other type can be
// one.
type Event interface {
	// Meta returns the event's metadata as the caller set it.
	Meta() Metadata
	// Describe returns what a publisher needs to know to send the event.
	Describe() Description
	// encode writes the payload and collects what is wrong with it.
	encode(*encoder)
}

// Description is what a publisher needs to know of an event.
type Description struct {
	Kind Kind
	// EventType is the type as it goes on the wire.
	EventType string
	// AggregateType is a domain event's aggregate.
	AggregateType string
	// Topic is a custom event's topic, before its prefix.
	Topic string
	// Subject is what the event is about: the resource or aggregate id, empty when there is none.
	Subject string
	// Key is the record key, empty for none; see [RecordKey].
	Key string
	// KeyIsEventID says that the record key is the event id, since the event has no better one.
	KeyIsEventID bool
	// Priority is the default of the kind.
	Priority Priority
}

// RecordKey returns the record key of an event: the resource id of an audit event, the aggregate id of a
// domain event, the only recipient of a notification (with several, or none, the event id: keys by
// recipient type would make a few hot partitions) and the caller's own of a custom event. Empty means
// that the record has no key, which is a null key in Kafka, never an empty one.
func RecordKey(event Event) string {
	return event.Describe().RecordKey(event.Meta().EventID)
}

// RecordKey returns the record key of the described event, whose id is given.
func (d Description) RecordKey(eventID string) string {
	if d.KeyIsEventID {
		return eventID
	}
	return d.Key
}

// Validate reports everything that is wrong with an event, joined; each fault is a [*FieldError]. The
// event id, the time and the service name are checked too, although a bus fills them in.
func Validate(event Event) error {
	_, err := Encode(event)
	return err
}
