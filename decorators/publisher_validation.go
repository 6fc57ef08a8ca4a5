package decorators

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// ErrRefused is wrapped by every error of [PublisherValidation]. Trying again does not help.
var ErrRefused = errors.New("decorators: nothing was published: a message would be refused")

// DefaultMaxBytes is the largest batch that a Kafka broker takes by default (message.max.bytes).
const DefaultMaxBytes = 1_048_588

// PublisherValidationConfig is what [PublisherValidation] checks.
type PublisherValidationConfig struct {
	// MaxBytes is how large a record may be that is sent alone and uncompressed, in bytes, all that the format
	// adds included: the topic's max.message.bytes. Default: [DefaultMaxBytes]. Negative: no limit.
	MaxBytes int
	// Envelopes asks for payloads that envelopes.Decode understands.
	Envelopes bool
	// AnyTopic leaves the topic's name unchecked, for publishers whose names follow other rules than Kafka's.
	AnyTopic bool
}

// PublisherValidation refuses, before anything is published, what the broker or every consumer would refuse:
// a topic name that Kafka does not allow, a nil message, an empty UUID, a record that is too large, and if
// asked, a payload that is no envelope. It reports all faults of a call at once, each with its cure and no
// payload; the error wraps [ErrRefused], and topics.ErrInvalid or envelopes.ErrInvalid where those are at fault.
//
// The size is that of Kafka's record batch, version 2 (KIP-98): what compression saves is not known here.
func PublisherValidation(config PublisherValidationConfig) message.PublisherDecorator {
	return func(next message.Publisher) (message.Publisher, error) {
		v := publisherValidation{config}
		if v.MaxBytes == 0 {
			v.MaxBytes = DefaultMaxBytes
		}
		return decorate(next, v.publish)
	}
}

type publisherValidation struct{ PublisherValidationConfig }

func (v publisherValidation) publish(next message.Publisher, topic string, msgs []*message.Message) error {
	var faults []error
	if !v.AnyTopic {
		if err := topics.Check(topic); err != nil {
			faults = append(faults, err)
		}
	}
	for i, msg := range msgs {
		for _, err := range v.faults(topic, msg) {
			faults = append(faults, fmt.Errorf("message %d of %d: %w", i+1, len(msgs), err))
		}
	}
	if len(faults) > 0 {
		return &refusal{fmt.Errorf("%w: %w", ErrRefused, errors.Join(faults...))}
	}
	return next.Publish(topic, msgs...)
}

func (v publisherValidation) faults(topic string, msg *message.Message) []error {
	if msg == nil {
		return []error{errors.New("it is nil: make it with message.NewMessage")}
	}
	var faults []error
	if msg.UUID == "" {
		faults = append(faults, errors.New("its UUID is empty, and consumers know it by that: give it one, for instance watermill.NewUUID()"))
	}
	if size := recordSize(topic, msg); v.MaxBytes > 0 && size > v.MaxBytes {
		faults = append(faults, fmt.Errorf("its record takes %d bytes, %d are allowed: publish a reference to the data in its place, or raise the topic's max.message.bytes and MaxBytes", size, v.MaxBytes))
	}
	if v.Envelopes {
		if _, err := envelopes.Decode(msg.Payload); err != nil {
			faults = append(faults, fmt.Errorf("its payload is no envelope: publish it through a Bus, or encode it with envelopes.Encode: %w", err))
		}
	}
	return faults
}

// refusal is a call's faults.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// ErrorType is the error.type attribute and the outcome label.
func (*refusal) ErrorType() string { return "invalid" }

// recordSize is the size of a batch of one: its header of 61 bytes and a record with the deltas of a first
// one, which are a byte each, as the record's attributes are.
func recordSize(topic string, msg *message.Message) int {
	record := delivery.FromMessage(topic, msg)
	size := 3 + sized(len(record.Key)) + sized(len(record.Value)) + varint(len(record.Headers))
	for _, header := range record.Headers {
		size += sized(len(header.Key)) + sized(len(header.Value))
	}
	return 61 + sized(size)
}

// sized is the size of n bytes after their length. A null key has the length -1, which takes a byte like 0.
func sized(n int) int { return varint(n) + n }

// varint is the size of a zigzag varint that is not negative.
func varint(n int) int { return (bits.Len64(uint64(n)<<1|1) + 6) / 7 } //nolint:gosec // a length
