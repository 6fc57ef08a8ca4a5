package decorators

import (
	"context"

	"github.com/tailrace-go/tailrace/envelopes"
)

// ErrorSpec says what custom event a failed call becomes. Its payload is
// {"args": {…}, "error": {"type": "…", "message": "…"}}.
type ErrorSpec struct {
	// Topic is where it goes, before the prefix. Required.
	Topic string
	// EventType is the event's. Required.
	EventType string
	// OmitArgs and OmitError leave them out.
	OmitArgs  bool
	OmitError bool
	// ArgName says what an input is that has no names in it, such as a string: it is {"args": {ArgName: …}},
	// and redacted if the name says secret. Default: the name of its type, if it has one of its own.
	ArgName string
	// Priority defaults to normal.
	Priority envelopes.Priority
	// Policy defaults to PolicyLog.
	Policy Policy
}

// OnError publishes a custom event of each call that fails. key gives the record key; nil means that there is
// none. A call for which it gives "" is published without a key, logged and counted.
func OnError[F ~func(context.Context, In) (Out, error), In, Out any](d *Decorator, spec ErrorSpec, key func(In) string, f F) (F, error) {
	h, err := errorHook(d, spec, byInput[In, Out](key), f == nil)
	if err != nil {
		return nil, err
	}
	return h.around(f), nil
}

// OnErrorIn is [OnError] for a function without a result.
func OnErrorIn[F ~func(context.Context, In) error, In any](d *Decorator, spec ErrorSpec, key func(In) string, f F) (F, error) {
	h, err := errorHook(d, spec, byInput[In, none](key), f == nil)
	if err != nil {
		return nil, err
	}
	return inputOnly(h, f), nil
}

// OnErrorOut is [OnError] for a function without an input, so its key is always the same.
func OnErrorOut[F ~func(context.Context) (Out, error), Out any](d *Decorator, spec ErrorSpec, key string, f F) (F, error) {
	h, err := errorHook(d, spec, constant[none, Out](key), f == nil)
	if err != nil {
		return nil, err
	}
	return resultOnly(h, f), nil
}

// OnErrorRun is [OnErrorOut] for a function that has no result either.
func OnErrorRun[F ~func(context.Context) error](d *Decorator, spec ErrorSpec, key string, f F) (F, error) {
	h, err := errorHook(d, spec, constant[none, none](key), f == nil)
	if err != nil {
		return nil, err
	}
	return neither(h, f), nil
}

func errorHook[In, Out any](d *Decorator, spec ErrorSpec, key func(In, Out) string, missing bool) (*hook[In, Out], error) {
	faults := &faults{of: "ErrorSpec"}
	faults.custom(d, spec.Topic, spec.EventType, spec.Priority)
	faults.policy(spec.Policy)
	if !faults.call(d, missing) {
		return nil, faults.err()
	}
	h := &hook[In, Out]{Decorator: d, kind: "error", eventType: spec.EventType, returns: spec.Policy == PolicyReturn}
	p := newPayload(h, content{args: !spec.OmitArgs, err: !spec.OmitError, argName: spec.ArgName}, faults)
	event := envelopes.Custom{Metadata: envelopes.Metadata{Priority: spec.Priority}, Topic: spec.Topic, EventType: spec.EventType}
	h.failure = func(ctx context.Context, in In, out Out, failed failure) (envelopes.Event, error) {
		event := event
		event.Key = h.id(ctx, key, in, out)
		event.Payload = p.failure(ctx, in, p.clean(in, failed))
		return event, nil
	}
	return h, faults.err()
}
