package decorators

import (
	"context"

	"github.com/tailrace-go/tailrace/envelopes"
)

// SuccessSpec says what custom event a successful call becomes. Its payload is
// {"args": {…}, "result": …}.
type SuccessSpec struct {
	// Topic is where it goes, before the prefix. Required.
	Topic string
	// EventType is the event's. Required.
	EventType string
	// OmitArgs and OmitResult leave them out.
	OmitArgs   bool
	OmitResult bool
	// ArgName and ResultName say what an input or a result is that has no names in it, such as a string: the
	// input is {"args": {ArgName: …}}, and either is redacted if its name says secret. Default: the name of
	// its type, if it has one of its own.
	ArgName    string
	ResultName string
	// Priority defaults to normal.
	Priority envelopes.Priority
	// Policy defaults to PolicyReturn.
	Policy Policy
}

// OnSuccess publishes a custom event of each call that succeeds. key gives the record key; nil means that
// there is none. A call for which it gives "" is published without a key, logged and counted.
func OnSuccess[F ~func(context.Context, In) (Out, error), In, Out any](d *Decorator, spec SuccessSpec, key func(In, Out) string, f F) (F, error) {
	h, err := successHook(d, spec, key, f == nil)
	if err != nil {
		return nil, err
	}
	return h.around(f), nil
}

// OnSuccessIn is [OnSuccess] for a function without a result.
func OnSuccessIn[F ~func(context.Context, In) error, In any](d *Decorator, spec SuccessSpec, key func(In) string, f F) (F, error) {
	h, err := successHook(d, spec, byInput[In, none](key), f == nil)
	if err != nil {
		return nil, err
	}
	return inputOnly(h, f), nil
}

// OnSuccessOut is [OnSuccess] for a function without an input.
func OnSuccessOut[F ~func(context.Context) (Out, error), Out any](d *Decorator, spec SuccessSpec, key func(Out) string, f F) (F, error) {
	h, err := successHook(d, spec, byResult[none](key), f == nil)
	if err != nil {
		return nil, err
	}
	return resultOnly(h, f), nil
}

// OnSuccessRun is [OnSuccess] for a function that has neither, so its key is always the same.
func OnSuccessRun[F ~func(context.Context) error](d *Decorator, spec SuccessSpec, key string, f F) (F, error) {
	h, err := successHook(d, spec, constant[none, none](key), f == nil)
	if err != nil {
		return nil, err
	}
	return neither(h, f), nil
}

func successHook[In, Out any](d *Decorator, spec SuccessSpec, key func(In, Out) string, missing bool) (*hook[In, Out], error) {
	faults := &faults{of: "SuccessSpec"}
	faults.custom(d, spec.Topic, spec.EventType, spec.Priority)
	faults.policy(spec.Policy)
	if !faults.call(d, missing) {
		return nil, faults.err()
	}
	h := &hook[In, Out]{Decorator: d, kind: "success", eventType: spec.EventType, returns: spec.Policy != PolicyLog}
	p := newPayload(h, content{
		args: !spec.OmitArgs, result: !spec.OmitResult, argName: spec.ArgName, resultName: spec.ResultName,
	}, faults)
	event := envelopes.Custom{Metadata: envelopes.Metadata{Priority: spec.Priority}, Topic: spec.Topic, EventType: spec.EventType}
	h.success = func(ctx context.Context, in In, out Out) (envelopes.Event, error) {
		event := event
		event.Key = h.id(ctx, key, in, out)
		event.Payload = p.success(ctx, in, out)
		return event, nil
	}
	return h, faults.err()
}
