package cqrs

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/tailrace-go/tailrace/bus"
	"github.com/tailrace-go/tailrace/envelopes"
)

// described returns the entry of a type that is an [Event], by value or by pointer.
func described(v any, goType reflect.Type) (*entry, bool) {
	self, ok := asEvent(v, goType)
	if !ok {
		return nil, false
	}
	e := &entry{goType: goType, aggregate: self.AggregateType(), eventType: self.EventType()}
	e.event = func(any) (envelopes.Domain, error) {
		return bus.Define[any](e.aggregate, e.eventType).New(self.AggregateID(), v), nil
	}
	e.decode = func(envelope envelopes.Envelope, into any) error {
		raw, _, err := bus.Define[json.RawMessage](e.aggregate, e.eventType).Decode(envelope)
		if err != nil {
			return other(err)
		}
		return decodeInto(raw, into)
	}
	return e, true
}

// asEvent also finds methods that have a pointer receiver when the event is given by value.
func asEvent(v any, goType reflect.Type) (Event, bool) {
	if value := reflect.ValueOf(v); value.Kind() == reflect.Pointer && value.IsNil() {
		v = reflect.New(goType).Interface()
	}
	if self, ok := v.(Event); ok {
		return self, true
	}
	pointer := reflect.New(goType)
	if _, ok := pointer.Interface().(Event); !ok {
		return nil, false
	}
	pointer.Elem().Set(reflect.Indirect(reflect.ValueOf(v)))
	return pointer.Interface().(Event), true
}

// decodeInto says where event_data does not fit, and never what is in it.
func decodeInto(data []byte, into any) error {
	err := json.Unmarshal(data, into)
	if err == nil {
		return nil
	}
	if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) {
		return fmt.Errorf("%w: cqrs: payload.event_data.%s does not fit the type %s of %T", envelopes.ErrInvalid, mismatch.Field, mismatch.Type, into)
	}
	return fmt.Errorf("%w: cqrs: payload.event_data does not fit %T", envelopes.ErrInvalid, into)
}
