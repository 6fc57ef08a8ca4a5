package decorators

import (
	"cmp"
	"context"

	"github.com/tailrace-go/tailrace/envelopes"
)

// failedSuffix makes the event type of a failed call.
const failedSuffix = "_failed"

// DomainSpec says what domain event a call becomes. Its event_data is {"args": {…}, "result": …}, and for a
// call that failed {"args": {…}, "error": {"type", "message"}}.
type DomainSpec struct {
	// AggregateType and EventType are the event's; with the Bus's service they make its topic. Required.
	AggregateType string
	EventType     string
	// IncludeFailures publishes failed calls, too, as {EventType}_failed.
	IncludeFailures bool
	// OmitArgs leaves the args out; IncludeResult puts the result in.
	OmitArgs      bool
	IncludeResult bool
	// ArgName and ResultName say what an input or a result is that has no names in it, such as a string: the
	// input is {"args": {ArgName: …}}, and either is redacted if its name says secret. Default: the name of
	// its type, if it has one of its own.
	ArgName    string
	ResultName string
	// Priority defaults to normal, EventVersion to 1, SchemaVersion to "1.0".
	Priority      envelopes.Priority
	EventVersion  int
	SchemaVersion string
	SchemaURL     string
	// Policy defaults to PolicyLog.
	Policy Policy
}

// Domain publishes a domain event of each call that succeeds. id gives the aggregate id, which is the record
// key; it is required. A call without one cannot be published: that is an event not published, by [ErrNoID].
// For a call that failed, id gets the result that came with the error, which may be nil.
func Domain[F ~func(context.Context, In) (Out, error), In, Out any](d *Decorator, spec DomainSpec, id func(In, Out) string, f F) (F, error) {
	h, err := domainHook(d, spec, id, f == nil)
	if err != nil {
		return nil, err
	}
	return h.around(f), nil
}

// DomainIn is [Domain] for a function without a result.
func DomainIn[F ~func(context.Context, In) error, In any](d *Decorator, spec DomainSpec, id func(In) string, f F) (F, error) {
	h, err := domainHook(d, spec, byInput[In, none](id), f == nil)
	if err != nil {
		return nil, err
	}
	return inputOnly(h, f), nil
}

// DomainOut is [Domain] for a function without an input.
func DomainOut[F ~func(context.Context) (Out, error), Out any](d *Decorator, spec DomainSpec, id func(Out) string, f F) (F, error) {
	h, err := domainHook(d, spec, byResult[none](id), f == nil)
	if err != nil {
		return nil, err
	}
	return resultOnly(h, f), nil
}

// DomainRun is [Domain] for a function that has neither, so its aggregate id is always the same.
func DomainRun[F ~func(context.Context) error](d *Decorator, spec DomainSpec, id string, f F) (F, error) {
	h, err := domainHook(d, spec, constant[none, none](id), f == nil)
	if err != nil {
		return nil, err
	}
	return neither(h, f), nil
}

func domainHook[In, Out any](d *Decorator, spec DomainSpec, id func(In, Out) string, missing bool) (*hook[In, Out], error) {
	faults := &faults{of: "DomainSpec"}
	faults.required("AggregateType", spec.AggregateType, `say what it happens to, for instance "user"`)
	faults.required("EventType", spec.EventType, `say what has happened, for instance "user_created"`)
	faults.event(envelopes.Domain{
		Metadata: sample(spec.Priority), AggregateType: cmp.Or(spec.AggregateType, "-"), AggregateID: "-",
		EventType: cmp.Or(spec.EventType, "-"), EventVersion: spec.EventVersion,
	})
	faults.policy(spec.Policy)
	if id == nil {
		faults.addf("there is no aggregate id, which a domain event must have: give a function, or for DomainRun the id")
	}
	if !faults.call(d, missing) {
		return nil, faults.err()
	}
	if spec.AggregateType != "" && spec.EventType != "" {
		longest := spec.EventType
		if spec.IncludeFailures {
			longest += failedSuffix
		}
		_, err := d.bus.Topics().Domain(d.bus.Service(), spec.AggregateType, longest)
		faults.check(err)
	}
	h := &hook[In, Out]{Decorator: d, kind: "domain", eventType: spec.EventType, returns: spec.Policy == PolicyReturn}
	p := newPayload(h, content{
		args: !spec.OmitArgs, result: spec.IncludeResult, err: true, argName: spec.ArgName, resultName: spec.ResultName,
	}, faults)
	event := envelopes.Domain{
		Metadata: envelopes.Metadata{Priority: spec.Priority}, AggregateType: spec.AggregateType, EventType: spec.EventType,
		EventVersion: spec.EventVersion, SchemaVersion: spec.SchemaVersion, SchemaURL: spec.SchemaURL,
	}
	h.success = func(ctx context.Context, in In, out Out) (envelopes.Event, error) {
		event := event
		if event.AggregateID = h.id(ctx, id, in, out); event.AggregateID == "" {
			return nil, ErrNoID
		}
		event.EventData = p.success(ctx, in, out)
		return event, nil
	}
	if spec.IncludeFailures {
		h.failure = func(ctx context.Context, in In, out Out, failed failure) (envelopes.Event, error) {
			event := event
			event.EventType += failedSuffix
			if event.AggregateID = h.id(ctx, id, in, out); event.AggregateID == "" {
				return nil, ErrNoID
			}
			event.EventData = p.failure(ctx, in, p.clean(in, failed))
			return event, nil
		}
	}
	return h, faults.err()
}
