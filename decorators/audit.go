package decorators

import (
	"cmp"
	"context"

	"github.com/tailrace-go/tailrace/envelopes"
)

// AuditSpec says what audit event a call becomes. A call that fails becomes one with Failed, error_message
// and error_code: the error's own code (Code() string or SQLState() string), or else its type. The args and
// the result, if included, are the operation_details.
type AuditSpec struct {
	// EventType, Action and ResourceType are the event's. Required.
	EventType    envelopes.AuditType
	Action       string
	ResourceType string
	// SuccessOnly leaves failed calls out.
	SuccessOnly bool
	// IncludeArgs and IncludeResult put them into the event.
	IncludeArgs   bool
	IncludeResult bool
	// ArgName and ResultName say what an input or a result is that has no names in it, such as a string: the
	// input is {"args": {ArgName: …}}, and either is redacted if its name says secret. Default: the name of
	// its type, if it has one of its own.
	ArgName    string
	ResultName string
	// Priority defaults to normal, RiskLevel to low.
	Priority       envelopes.Priority
	RiskLevel      envelopes.RiskLevel
	ComplianceTags []string
	// Policy defaults to PolicyLog.
	Policy Policy
}

// Audit publishes an audit event of each call. id gives the resource id, which is the record key; nil means
// that there is none. For a call that failed it gets the result that came with the error, which may be nil.
// A call without an id is published all the same, logged and counted.
//
// The errors of all functions that decorate wrap [ErrConfig] and list all mistakes.
func Audit[F ~func(context.Context, In) (Out, error), In, Out any](d *Decorator, spec AuditSpec, id func(In, Out) string, f F) (F, error) {
	h, err := auditHook(d, spec, id, f == nil)
	if err != nil {
		return nil, err
	}
	return h.around(f), nil
}

// AuditIn is [Audit] for a function without a result.
func AuditIn[F ~func(context.Context, In) error, In any](d *Decorator, spec AuditSpec, id func(In) string, f F) (F, error) {
	h, err := auditHook(d, spec, byInput[In, none](id), f == nil)
	if err != nil {
		return nil, err
	}
	return inputOnly(h, f), nil
}

// AuditOut is [Audit] for a function without an input.
func AuditOut[F ~func(context.Context) (Out, error), Out any](d *Decorator, spec AuditSpec, id func(Out) string, f F) (F, error) {
	h, err := auditHook(d, spec, byResult[none](id), f == nil)
	if err != nil {
		return nil, err
	}
	return resultOnly(h, f), nil
}

// AuditRun is [Audit] for a function that has neither, so its resource id is always the same; "" means that
// there is none.
func AuditRun[F ~func(context.Context) error](d *Decorator, spec AuditSpec, id string, f F) (F, error) {
	h, err := auditHook(d, spec, constant[none, none](id), f == nil)
	if err != nil {
		return nil, err
	}
	return neither(h, f), nil
}

func auditHook[In, Out any](d *Decorator, spec AuditSpec, id func(In, Out) string, missing bool) (*hook[In, Out], error) {
	faults := &faults{of: "AuditSpec"}
	faults.required("EventType", string(spec.EventType), "give one of envelopes' audit types, or your own")
	faults.required("Action", spec.Action, `say what is done, for instance "create_user"`)
	faults.required("ResourceType", spec.ResourceType, `say what it is done to, for instance "user"`)
	faults.event(envelopes.Audit{
		Metadata: sample(spec.Priority), EventType: cmp.Or(spec.EventType, "-"), Action: cmp.Or(spec.Action, "-"),
		ResourceType: cmp.Or(spec.ResourceType, "-"), RiskLevel: spec.RiskLevel,
	})
	faults.policy(spec.Policy)
	if !faults.call(d, missing) {
		return nil, faults.err()
	}
	h := &hook[In, Out]{Decorator: d, kind: "audit", eventType: string(spec.EventType), returns: spec.Policy == PolicyReturn}
	p := newPayload(h, content{
		args: spec.IncludeArgs, result: spec.IncludeResult, argName: spec.ArgName, resultName: spec.ResultName,
	}, faults)
	event := envelopes.Audit{
		Metadata: envelopes.Metadata{Priority: spec.Priority}, EventType: spec.EventType, Action: spec.Action,
		ResourceType: spec.ResourceType, RiskLevel: spec.RiskLevel, ComplianceTags: spec.ComplianceTags,
	}
	h.success = func(ctx context.Context, in In, out Out) (envelopes.Event, error) {
		event := event
		event.ResourceID = h.id(ctx, id, in, out)
		event.OperationDetails = p.success(ctx, in, out)
		return event, nil
	}
	if !spec.SuccessOnly {
		h.failure = func(ctx context.Context, in In, out Out, failed failure) (envelopes.Event, error) {
			failed = p.clean(in, failed)
			event := event
			event.ResourceID = h.id(ctx, id, in, out)
			event.OperationDetails = p.failure(ctx, in, failed)
			event.Failed, event.ErrorMessage, event.ErrorCode = true, failed.message, failed.orType()
			return event, nil
		}
	}
	return h, faults.err()
}
