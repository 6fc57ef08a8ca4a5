package cqrs

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/bus/consumer"
	"github.com/tailrace-go/tailrace/envelopes"
)

// Registry says which Go type is which domain event. Fill it with [Register] and give it to [New]; what is
// registered later is not seen. Its zero value is empty.
type Registry struct{ entries []*entry }

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{} }

// Register maps the Go type T, by value and by pointer, to the domain event that was defined for it. id
// gives the aggregate id, which is the record key. It may be nil for events that this service only reads.
// All mistakes are reported by [New].
func Register[T any](r *Registry, definition bus.DomainEvent[T], id func(T) string, options ...Option) {
	e := &entry{
		goType:    reflect.TypeFor[T](),
		aggregate: definition.Aggregate(), eventType: definition.EventType(),
	}
	for _, option := range options {
		option(e)
	}
	e.event = func(v any) (envelopes.Domain, error) {
		data, byValue := v.(T)
		if !byValue {
			pointer, _ := v.(*T)
			if pointer == nil {
				return envelopes.Domain{}, fmt.Errorf("%w: cqrs: the %T to publish is nil", envelopes.ErrInvalid, v)
			}
			data = *pointer
		}
		if id == nil {
			return envelopes.Domain{}, fmt.Errorf("%w: cqrs: %s was registered without a function for its aggregate id: give Register one to publish it", envelopes.ErrInvalid, e.goType)
		}
		return definition.New(id(data), data, e.options...), nil
	}
	e.decode = func(envelope envelopes.Envelope, into any) error {
		target, ok := into.(*T)
		if !ok || target == nil {
			return fmt.Errorf("cqrs: the event is read into a %T: give NewEvent a new *%s", into, e.goType)
		}
		data, _, err := definition.Decode(envelope)
		if err == nil {
			*target = data
		}
		return other(err)
	}
	r.entries = append(r.entries, e)
}

// Option is a detail of a registration.
type Option func(*entry)

// From names the service that publishes the event, whose name is in its topic. Default: this service.
func From(service string) Option { return func(e *entry) { e.service = service } }

// OnTopic puts the event on a topic of its own choice, named before the prefix, in place of
// {service}.{aggregate}.{event type}: the way to have several types on one topic, in the order in which they
// happened to their aggregate, for an event group.
func OnTopic(name string) Option { return func(e *entry) { e.topic = name } }

// With sets more of each event that is published, as bus.WithVersion does.
func With(options ...bus.Option) Option {
	return func(e *entry) { e.options = append(e.options, options...) }
}

// Event is an event type that says itself what it is, and needs no registration: its topic has this
// service in it. AggregateType and EventType must be the same for every value, the zero value too. A
// registration stands over the methods.
type Event interface {
	AggregateType() string
	AggregateID() string
	EventType() string
}

// ErrUnregistered: a Go type is neither registered nor an [Event].
var ErrUnregistered = errors.New("cqrs: the type is not registered")

// entry is one Go type and its event.
type entry struct {
	goType               reflect.Type
	aggregate, eventType string
	service, topic       string
	options              []bus.Option
	event                func(v any) (envelopes.Domain, error)
	decode               func(envelope envelopes.Envelope, into any) error
}

// name is unique among events, and differs from any event type alone: no aggregate has a slash, which
// no topic may have.
func (e *entry) name() string { return name(e.aggregate, e.eventType) }

func name(aggregate, eventType string) string {
	return strings.ToLower(aggregate) + "/" + strings.ToLower(eventType)
}

func other(err error) error {
	if errors.Is(err, bus.ErrOtherEvent) {
		return consumer.Permanent(err)
	}
	return err
}
