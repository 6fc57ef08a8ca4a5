package bus

import (
	"github.com/tailrace-go/tailrace/envelopes"
	"github.com/tailrace-go/tailrace/envelopes/redact"
)

// defaultRedactor cuts nothing: an audit event is the record of what happened.
func defaultRedactor() *redact.Redactor {
	r, _ := redact.New(redact.Config{Limit: -1}) // has nothing to be wrong
	return r
}

// redacted returns the event without the secrets in what an audit event tells of the operation. What cannot
// be encoded stays for the encoder to name.
func (c *core) redacted(event envelopes.Event) envelopes.Event {
	var audit envelopes.Audit
	switch e := event.(type) {
	case envelopes.Audit:
		audit = e
	case *envelopes.Audit:
		if e == nil {
			return event
		}
		audit = *e
	default:
		return event
	}
	changed := false
	for _, value := range []*any{&audit.OperationDetails, &audit.PreviousState, &audit.NewState, &audit.SecurityContext} {
		if *value == nil {
			continue
		}
		if data, err := c.Redact.JSON(*value); err == nil {
			*value, changed = data, true
		}
	}
	if !changed {
		return event
	}
	return audit
}
