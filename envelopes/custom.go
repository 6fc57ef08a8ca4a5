package envelopes

// Custom is an event whose topic, key and payload are the caller's own.
type Custom struct {
	Metadata Metadata
	// Topic is where it goes, before the prefix. Required by a bus; it is not in the envelope.
	Topic string
	// Key is the record key. Empty means none. It is not in the envelope.
	Key string
	// EventType says what the payload is. Required.
	EventType string
	// Payload is any value. Decoded, it is a json.RawMessage; [PayloadAs] gives it a type. Default: null.
	Payload any
}

// Meta returns the metadata as set.
func (c Custom) Meta() Metadata { return c.Metadata }

// Describe implements [Event].
func (c Custom) Describe() Description {
	return Description{Kind: KindCustom, EventType: c.EventType, Topic: c.Topic, Key: c.Key, Priority: PriorityNormal}
}

func (c Custom) encode(e *encoder) {
	e.required("event_type", c.EventType)
	e.printable("event_type", c.EventType)
	e.value("payload", c.Payload)
}

// Custom returns the envelope as a custom event; its topic and key are not in the envelope and stay
// empty. Its Payload is a json.RawMessage.
func (e Envelope) Custom() Custom {
	return Custom{Metadata: e.Metadata, EventType: e.EventType, Payload: e.Payload}
}
