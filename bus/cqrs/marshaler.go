package cqrs

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	wmcqrs "github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/topics"
)

// Config is what a [Marshaler] is made from. Give it the service's Bus; a service that publishes nothing
// can give Topics, and Service, in its place.
type Config struct {
	// Registry says which Go type is which event. Default: none, for types that are all an [Event].
	Registry *Registry
	// Bus completes and publishes the events, and says how topics are named. Without it there is no
	// publishing.
	Bus *bus.Bus
	// Topics names the topics of a service without a Bus. Default: no prefix.
	Topics topics.Naming
	// Service is the name of a service without a Bus, for events that are not registered [From] another.
	// Default: none.
	Service string
}

var (
	// ErrConfig is wrapped by every mistake in a [Config] and its [Registry].
	ErrConfig = errors.New("cqrs: invalid configuration")
	// ErrNoBus: a service that was configured without a Bus tried to publish.
	ErrNoBus = errors.New("cqrs: no Bus to publish with: set Config.Bus")
)

// Marshaler is the event marshaler for Watermill's CQRS component: what it marshals is a complete message of
// a Bus, and it reads every domain event, whoever published it. It is safe for concurrent use.
type Marshaler struct {
	bus     *bus.Bus
	naming  topics.Naming
	service string
	entries []*entry
	byType  map[reflect.Type]*entry
}

var _ wmcqrs.CommandEventMarshaler = (*Marshaler)(nil)

// New checks the configuration and all registrations, reporting all mistakes at once.
func New(config Config) (*Marshaler, error) {
	m := &Marshaler{bus: config.Bus, naming: config.Topics, service: config.Service, byType: map[reflect.Type]*entry{}}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	switch {
	case config.Bus == nil:
		if err := config.Topics.Validate(); err != nil {
			fault("Topics: %w", err)
		}
	case config.Topics != topics.Naming{} || config.Service != "":
		fault("Topics or Service is set beside Bus, which has its own: leave them out")
	default:
		m.naming, m.service = config.Bus.Topics(), config.Bus.Service()
	}
	if config.Registry != nil {
		m.entries = append(m.entries, config.Registry.entries...)
	}
	names := map[string]*entry{}
	for _, e := range m.entries {
		if kind := e.goType.Kind(); kind == reflect.Pointer || kind == reflect.Interface {
			fault("%s is a %s: define and register the struct itself", e.goType, kind)
			continue
		}
		if m.byType[e.goType] != nil {
			fault("%s is registered twice: keep one, and make a type of its own for the other event", e.goType)
		}
		if twin := names[e.name()]; twin != nil && twin.goType != e.goType {
			fault("%s and %s are both registered as %s of %s: keep one", twin.goType, e.goType, e.eventType, e.aggregate)
		}
		m.byType[e.goType], names[e.name()] = e, e
		if _, err := m.subscribeTopic(e); err != nil {
			fault("%s: %w", e.goType, err)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return m, nil
}

// Marshal returns the event, a registered type or an [Event], by value or by pointer, as a message that
// is complete except for what a context adds, which Watermill does not give it: that is
// [Marshaler.OnPublish]'s. The error is [ErrUnregistered], [ErrNoBus] or wraps envelopes.ErrInvalid.
func (m *Marshaler) Marshal(v any) (*message.Message, error) {
	e, err := m.entry(v)
	if err != nil {
		return nil, err
	}
	if m.bus == nil {
		return nil, ErrNoBus
	}
	event, err := e.event(v)
	if err != nil {
		return nil, err
	}
	_, msg, err := m.bus.Message(context.Background(), event)
	if err != nil {
		return nil, fmt.Errorf("cqrs: %s: %w", e.goType, err)
	}
	return msg, nil
}

// Unmarshal reads the event_data of a domain event into v, a pointer to a registered type or to an [Event].
// The error wraps envelopes.ErrInvalid, which package consumer's chain does not retry, or is [ErrUnregistered].
func (m *Marshaler) Unmarshal(msg *message.Message, v any) error {
	e, err := m.entry(v)
	if err != nil {
		return err
	}
	envelope, err := consumer.Open(msg)
	if err != nil {
		return err
	}
	return e.decode(envelope, v)
}

// Name returns the event's name, for instance "user/user_created"; an unregistered type has the one that
// Watermill gives it, which no message has.
func (m *Marshaler) Name(v any) string {
	e, err := m.entry(v)
	if err != nil {
		return wmcqrs.FullyQualifiedStructName(v)
	}
	return e.name()
}

// NameFromMessage returns the name of the event that the message holds, as [Marshaler.Name] does; of an
// event that is no domain event its type. It also opens the message (consumer.Open): the processors call it
// first, so what their handlers publish continues the event's chain, whatever middlewares the router has.
//
// A message that is no event at all has the name of the type that its headers or its topic promise, so
// that it is an error to be dealt with and not taken for an unknown type, which cqrs may be told to ack.
func (m *Marshaler) NameFromMessage(msg *message.Message) string {
	envelope, err := consumer.Open(msg)
	if err != nil {
		return m.promised(msg)
	}
	payload, err := envelopes.PayloadAs[struct {
		AggregateType string `json:"aggregate_type"`
	}](envelope)
	if err != nil || payload.AggregateType == "" {
		return envelope.EventType
	}
	return name(payload.AggregateType, envelope.EventType)
}

func (m *Marshaler) promised(msg *message.Message) string {
	topic, eventType := message.SubscribeTopicFromCtx(msg.Context()), msg.Metadata.Get(envelopes.HeaderType)
	var found string
	for _, e := range m.entries {
		if at, err := m.subscribeTopic(e); err != nil || at != topic {
			continue
		}
		if strings.EqualFold(e.eventType, eventType) {
			return e.name()
		}
		if found == "" {
			found = e.name()
		}
	}
	return found
}

func (m *Marshaler) entry(v any) (*entry, error) {
	goType := reflect.TypeOf(v)
	if goType == nil {
		return nil, fmt.Errorf("%w: cqrs: the event is nil", envelopes.ErrInvalid)
	}
	if goType.Kind() == reflect.Pointer {
		goType = goType.Elem()
	}
	if e := m.byType[goType]; e != nil {
		return e, nil
	}
	if e, ok := described(v, goType); ok {
		return e, nil
	}
	return nil, fmt.Errorf("%w: %s: cqrs.Register(registry, bus.Define[%s](aggregate, eventType), aggregateID) before cqrs.New, or give it the methods of cqrs.Event",
		ErrUnregistered, goType, goType)
}
