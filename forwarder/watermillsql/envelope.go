package watermillsql

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace-go/tailrace/bus/delivery"
)

// envelope is what components/forwarder's publisher wraps a message in.
type envelope struct {
	DestinationTopic string            `json:"destination_topic"`
	UUID             string            `json:"uuid"`
	Payload          []byte            `json:"payload"`
	Metadata         map[string]string `json:"metadata"`
}

var (
	errEnvelope = errors.New("the row's payload is no envelope of Watermill's forwarder.NewPublisher")
	errReserved = errors.New("the message's metadata has the field " + delivery.UUIDHeader + ", which is the header of its UUID: watermill-kafka refuses it, too")
)

// unwrap returns the record that watermill-kafka's publisher makes of the message in an envelope: the
// UUID's header, then the metadata. Those are in the order of their names here, in no order there.
func (n names) unwrap(payload []byte, keyField string) (delivery.Record, error) {
	if record, ok := n.plain(payload, keyField); ok {
		return record, nil
	}
	return n.general(payload, keyField)
}

// general reads any envelope, as components/forwarder does.
func (n names) general(payload []byte, keyField string) (delivery.Record, error) {
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return delivery.Record{}, fmt.Errorf("%w: %w", errEnvelope, withoutContent(err))
	}
	if e.DestinationTopic == "" {
		return delivery.Record{}, fmt.Errorf("%w: it has no destination_topic", errEnvelope)
	}
	record := delivery.Record{
		Topic:   n.intern([]byte(e.DestinationTopic)),
		Value:   e.Payload,
		Headers: make([]delivery.Header, 1, len(e.Metadata)+1),
	}
	record.Headers[0] = delivery.Header{Key: delivery.UUIDHeader, Value: []byte(e.UUID)}
	reserved := e.Metadata[delivery.UUIDHeader] != ""
	for name, value := range e.Metadata {
		if reserved && name == delivery.UUIDHeader {
			continue // a dead letter has one UUID
		}
		record.Headers = append(record.Headers, delivery.Header{Key: n.intern([]byte(name)), Value: []byte(value)})
	}
	slices.SortFunc(record.Headers[1:], byName)
	if key := e.Metadata[keyField]; key != "" && keyField != "" {
		record.Key = []byte(key)
	}
	if reserved {
		return record, errReserved
	}
	return record, nil
}

func byName(a, b delivery.Header) int { return strings.Compare(a.Key, b.Key) }

// withoutContent keeps an error of encoding/json, which may repeat what it read, out of logs and headers.
func withoutContent(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON, at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("%s is of the wrong JSON type, at byte %d", envelopeField(kind.Field), kind.Offset)
	default:
		return errors.New("payload is not base64")
	}
}

// envelopeField names a field of ours, and none of the message's.
func envelopeField(field string) string {
	name, _, _ := strings.Cut(field, ".")
	if name == "" {
		return "it"
	}
	return name
}

// names keeps one string for each topic's and each header's name, since a backlog repeats a few of them.
type names map[string]string

// maxNames bounds it against messages whose names are data.
const maxNames = 1000

func (n names) intern(name []byte) string {
	if known, ok := n[string(name)]; ok {
		return known
	}
	fresh := string(name)
	if len(n) < maxNames {
		n[fresh] = fresh
	}
	return fresh
}
