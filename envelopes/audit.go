package envelopes

import "cmp"

// Audit says that someone did something to a resource, or tried to. Its zero value is a success of low
// risk.
type Audit struct {
	Metadata Metadata
	// EventType is one of the constants or the application's own. Required.
	EventType AuditType
	// Action is what was done, for instance "create_user". Required.
	Action string
	// ResourceType is what it was done to, for instance "user". Required.
	ResourceType string
	// ResourceID is which one; it is the record key. Empty means no particular one, and no key.
	ResourceID string
	// OperationDetails is any value that encodes as a JSON object. Default: {}.
	OperationDetails any
	// PreviousState and NewState are any values. Default: null.
	PreviousState any
	NewState      any
	// SecurityContext is any value that encodes as a JSON object. Default: {}.
	SecurityContext any
	// Failed says that the action did not succeed ("success": false on the wire).
	Failed       bool
	ErrorMessage string
	ErrorCode    string
	// ComplianceTags name the rules the event is evidence for. Default: [].
	ComplianceTags []string
	// RiskLevel defaults to low.
	RiskLevel RiskLevel
}

// Meta returns the metadata as set.
func (a Audit) Meta() Metadata { return a.Metadata }

// Describe implements [Event].
func (a Audit) Describe() Description {
	return Description{
		Kind: KindAudit, EventType: string(a.EventType), Subject: a.ResourceID, Key: a.ResourceID,
		Priority: PriorityNormal,
	}
}

func (a Audit) encode(e *encoder) {
	e.raw(`{"event_type":`)
	e.required("event_type", string(a.EventType))
	e.printable("event_type", string(a.EventType))
	e.str(string(a.EventType))
	e.raw(`,"action":`)
	e.required("payload.action", a.Action)
	e.str(a.Action)
	e.raw(`,"resource_type":`)
	e.required("payload.resource_type", a.ResourceType)
	e.str(a.ResourceType)
	e.raw(`,"resource_id":`)
	e.nullable(a.ResourceID)
	e.raw(`,"operation_details":`)
	e.object("payload.operation_details", a.OperationDetails)
	e.raw(`,"previous_state":`)
	e.value("payload.previous_state", a.PreviousState)
	e.raw(`,"new_state":`)
	e.value("payload.new_state", a.NewState)
	e.raw(`,"security_context":`)
	e.object("payload.security_context", a.SecurityContext)
	e.raw(`,"success":`)
	e.bool(!a.Failed)
	e.raw(`,"error_message":`)
	e.nullable(a.ErrorMessage)
	e.raw(`,"error_code":`)
	e.nullable(a.ErrorCode)
	e.raw(`,"compliance_tags":`)
	appendStrings(e, a.ComplianceTags)
	e.raw(`,"risk_level":`)
	risk := cmp.Or(a.RiskLevel, RiskLow)
	switch risk {
	case RiskLow, RiskMedium, RiskHigh, RiskCritical:
	default:
		e.fault("payload.risk_level", "is not one of low, medium, high, critical")
	}
	e.str(string(risk))
	e.raw(`}`)
}

// Audit returns the envelope as an audit event. Its values of any type are json.RawMessage. The error
// wraps [ErrInvalid] and lists every field that is missing or of the wrong type.
func (e Envelope) Audit() (Audit, error) {
	o, err := e.payload()
	if err != nil {
		return Audit{}, err
	}
	audit := Audit{
		Metadata: e.Metadata,
		// The older publisher wrote "AuditEventType.DATA_CREATED" inside; the outer type is right.
		EventType:        AuditType(e.EventType),
		Action:           o.required("action"),
		ResourceType:     o.required("resource_type"),
		ResourceID:       o.str("resource_id"),
		OperationDetails: o.object("operation_details"),
		PreviousState:    o.value("previous_state"),
		NewState:         o.value("new_state"),
		SecurityContext:  o.object("security_context"),
		Failed:           !o.bool("success", true),
		ErrorMessage:     o.str("error_message"),
		ErrorCode:        o.str("error_code"),
		ComplianceTags:   objectStrings[string](o, "compliance_tags"),
		RiskLevel:        RiskLevel(cmp.Or(o.str("risk_level"), string(RiskLow))),
	}
	o.str("event_type")
	return orInvalid(audit, o)
}
