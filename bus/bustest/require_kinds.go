package bustest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tailrace-go/tailrace/envelopes"
)

// Definition is one type of domain event; a bus.DomainEvent is one.
type Definition[T any] interface {
	Aggregate() string
	EventType() string
	Decode(envelope envelopes.Envelope) (T, envelopes.Domain, error)
}

// RequireEvent requires that exactly one event of a type that bus.Define made was published for that
// aggregate ("" for any), for whose data every condition holds, and returns the data.
func RequireEvent[T any](t testing.TB, from Source, definition Definition[T], aggregateID string, conditions ...func(T) bool) T {
	t.Helper()
	want := strings.TrimSpace(fmt.Sprintf("domain event %s of %s %s", definition.EventType(), definition.Aggregate(), aggregateID))
	found := one(t, from, want, func(p Published) []string {
		if p.Err != nil || p.Envelope.Kind() != envelopes.KindDomain || !strings.EqualFold(p.Envelope.EventType, definition.EventType()) {
			return []string{}
		}
		data, event, err := definition.Decode(p.Envelope)
		switch {
		case err != nil:
			return []string{err.Error() + ": " + string(p.Message.Payload)}
		case aggregateID != "" && event.AggregateID != aggregateID:
			return []string{differ("AggregateID", show(event.AggregateID), show(aggregateID))}
		}
		return unmet(p, data, conditions)
	})
	data, _, _ := definition.Decode(found.Envelope)
	return data
}

// RequireDomain requires that exactly one domain event of that aggregate type and event type was
// published for which every condition holds, and returns it. The names are compared as the envelope has
// them, in the caller's case.
func RequireDomain(t testing.TB, from Source, aggregateType, eventType string, conditions ...func(envelopes.Domain) bool) envelopes.Domain {
	t.Helper()
	return Require(t, from, envelopes.Domain{AggregateType: aggregateType, EventType: eventType}, conditions...)
}

// RequireAudit requires that exactly one audit event of that type was published for which every
// condition holds, and returns it.
func RequireAudit(t testing.TB, from Source, eventType envelopes.AuditType, conditions ...func(envelopes.Audit) bool) envelopes.Audit {
	t.Helper()
	return Require(t, from, envelopes.Audit{EventType: eventType}, conditions...)
}

// RequireNotification requires that exactly one notification of that type was published for which every
// condition holds, and returns it.
func RequireNotification(t testing.TB, from Source, eventType envelopes.NotificationType, conditions ...func(envelopes.Notification) bool) envelopes.Notification {
	t.Helper()
	return Require(t, from, envelopes.Notification{EventType: eventType}, conditions...)
}

// RequireCustom requires that exactly one custom event of that type was published for which every
// condition holds, and returns it, with the topic (prefix included) and key it was published with.
// Its Payload is a json.RawMessage.
func RequireCustom(t testing.TB, from Source, eventType string, conditions ...func(envelopes.Custom) bool) envelopes.Custom {
	t.Helper()
	return Require(t, from, envelopes.Custom{EventType: eventType}, conditions...)
}
