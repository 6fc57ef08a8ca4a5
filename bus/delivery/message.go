package delivery

import (
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
)

const (
	// KeyMetadata is the metadata field of a Watermill message that holds the record key. It becomes
	// the record's key and is not sent as a header; a message without it, or with an empty one, has a null
	// key.
	KeyMetadata = "record_key"
	// UUIDHeader is the record header that holds the message's UUID, named as watermill-kafka names it,
	// so that its subscriber gives the message back under the same UUID.
	UUIDHeader = "_watermill_message_uuid"
)

// FromMessage returns the record a Watermill message is sent as: its payload the value, its UUID and
// metadata the headers (the UUID first, then by name), KeyMetadata the key. Value shares the payload's
// memory.
func FromMessage(topic string, msg *message.Message) Record {
	record := Record{
		Topic:   topic,
		Value:   msg.Payload,
		Headers: make([]Header, 0, len(msg.Metadata)+1),
	}
	record.Headers = append(record.Headers, Header{Key: UUIDHeader, Value: []byte(msg.UUID)})
	for name, value := range msg.Metadata {
		switch name {
		case KeyMetadata:
			if value != "" { // An empty key would put every such record into one partition.
				record.Key = []byte(value)
			}
		case UUIDHeader:
		default:
			record.Headers = append(record.Headers, Header{Key: name, Value: []byte(value)})
		}
	}
	slices.SortFunc(record.Headers[1:], func(a, b Header) int { return strings.Compare(a.Key, b.Key) })
	return record
}
