package decorators

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/envelopes/redact"
	"github.com/tailrace-go/tailrace/internal/telemetry"
)

// NotJSON says what becomes of a payload in which nobody can tell what is secret.
type NotJSON uint8

const (
	// RefuseNotJSON makes publishing it an error that wraps [ErrNotJSON], and publishes nothing of the call.
	RefuseNotJSON NotJSON = iota
	// PassNotJSON lets it pass as it is. It is for publishers whose other messages are protobuf, Avro or
	// encrypted.
	PassNotJSON
)

// ErrNotJSON is redact.ErrNotJSON: a payload cannot be redacted.
var ErrNotJSON = redact.ErrNotJSON

// PublisherRedactionConfig is what [PublisherRedaction] leaves out.
type PublisherRedactionConfig struct {
	// Redactor says what is secret. Default: the built-in names, at any length. One with a limit
	// (redact.Default) cuts messages that are longer, envelopes too.
	Redactor *redact.Redactor
	// NotJSON says what becomes of a payload that is not JSON. Default: it is refused. An empty payload, a
	// tombstone for instance, holds no secret and passes.
	NotJSON NotJSON
}

// PublisherRedaction leaves out of messages what must not leave the service: in JSON payloads, the value of
// every field whose name says secret, at any depth, as package redact has it; in metadata, likewise. What
// needs no change is passed on as it is; a message that changes is copied, payload and all.
//
// A Go struct's `redact:"true"` tags are not known here, where the payload is encoded already.
func PublisherRedaction(config PublisherRedactionConfig) message.PublisherDecorator {
	return func(next message.Publisher) (message.Publisher, error) {
		if config.NotJSON > PassNotJSON {
			return nil, fmt.Errorf("decorators: PublisherRedactionConfig.NotJSON is %d: use RefuseNotJSON or PassNotJSON", config.NotJSON)
		}
		if config.Redactor == nil {
			var err error
			if config.Redactor, err = redact.New(redact.Config{Limit: -1}); err != nil {
				return nil, fmt.Errorf("decorators: %w", err)
			}
		}
		r := &publisherRedaction{PublisherRedactionConfig: config}
		return decorate(next, r.publish)
	}
}

type publisherRedaction struct {
	PublisherRedactionConfig
	secret telemetry.Cache[bool] // by metadata name
}

func (r *publisherRedaction) publish(next message.Publisher, topic string, msgs []*message.Message) error {
	if incomplete(msgs) {
		return next.Publish(topic, msgs...)
	}
	redacted, shared := msgs, true
	var faults []error
	for i, msg := range msgs {
		clean, err := r.redact(msg)
		if err != nil {
			faults = append(faults, fmt.Errorf("decorators: message %d of %d for %s, %q: %w: publish JSON, or set PublisherRedactionConfig.NotJSON to PassNotJSON", i+1, len(msgs), topic, msg.UUID, err))
			continue
		}
		if clean == msg {
			continue
		}
		if shared {
			redacted, shared = slices.Clone(msgs), false
		}
		redacted[i] = clean
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return next.Publish(topic, redacted...)
}

// redact returns the message itself when there is nothing to leave out.
func (r *publisherRedaction) redact(msg *message.Message) (*message.Message, error) {
	payload := []byte(msg.Payload)
	if len(bytes.TrimSpace(payload)) > 0 {
		var err error
		if payload, err = r.Redactor.Raw(payload); errors.Is(err, ErrNotJSON) && r.NotJSON == PassNotJSON {
			payload = msg.Payload
		} else if err != nil {
			return nil, err
		}
	}
	clean := msg
	if !bytes.Equal(payload, msg.Payload) {
		clean = copied(msg)
		clean.Payload = payload
	}
	for name := range msg.Metadata {
		if !r.named(name) {
			continue
		}
		if clean == msg {
			clean = copied(msg)
		}
		clean.Metadata[name] = redact.Mark
	}
	return clean, nil
}

// named reports whether the name says secret.
func (r *publisherRedaction) named(name string) bool {
	secret, _ := r.secret.Of(name, func() bool {
		key, err := json.Marshal(name)
		if err != nil {
			return false
		}
		probe := slices.Concat([]byte("{"), key, []byte(`:"x"}`))
		out, err := r.Redactor.Raw(probe)
		return err != nil || !bytes.Equal(out, probe)
	})
	return secret
}
