package bustest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tailrace-go/tailrace/envelopes"
)

// RequireDomain requires that exactly one domain event of that aggregate type and event type was
// published for which every condition holds, and returns it. The names are compared as the envelope has
// them, in the caller's case.
func RequireDomain(t testing.TB, rec *Recorder, aggregateType, eventType string, conditions ...func(envelopes.Domain) bool) envelopes.Domain {
	t.Helper()
	want := fmt.Sprintf("domain event %s of aggregate type %s", eventType, aggregateType)
	return require1(t, rec, want, conditions, func(p Published) (event envelopes.Domain, ok bool) {
		if p.Envelope.Kind() != envelopes.KindDomain || p.Envelope.EventType != eventType {
			return event, false
		}
		event, err := p.Envelope.Domain()
		return event, err == nil && event.AggregateType == aggregateType
	})
}

// RequireAudit requires that exactly one audit event of that type was published for which every
// condition holds, and returns it.
func RequireAudit(t testing.TB, rec *Recorder, eventType envelopes.AuditType, conditions ...func(envelopes.Audit) bool) envelopes.Audit {
	t.Helper()
	want := fmt.Sprintf("audit event %s", eventType)
	return require1(t, rec, want, conditions, func(p Published) (event envelopes.Audit, ok bool) {
		if p.Envelope.Kind() != envelopes.KindAudit {
			return event, false
		}
		event, err := p.Envelope.Audit()
		return event, err == nil && event.EventType == eventType
	})
}

// RequireNotification requires that exactly one notification of that type was published for which every
// condition holds, and returns it.
func RequireNotification(t testing.TB, rec *Recorder, eventType envelopes.NotificationType, conditions ...func(envelopes.Notification) bool) envelopes.Notification {
	t.Helper()
	want := fmt.Sprintf("notification %s", eventType)
	return require1(t, rec, want, conditions, func(p Published) (event envelopes.Notification, ok bool) {
		if p.Envelope.Kind() != envelopes.KindNotification {
			return event, false
		}
		event, err := p.Envelope.Notification()
		return event, err == nil && event.EventType == eventType
	})
}

// RequireCustom requires that exactly one custom event of that type was published for which every
// condition holds, and returns it, with the topic (prefix included) and key it was published with.
// Its Payload is a json.RawMessage.
func RequireCustom(t testing.TB, rec *Recorder, eventType string, conditions ...func(envelopes.Custom) bool) envelopes.Custom {
	t.Helper()
	want := fmt.Sprintf("custom event %s", eventType)
	return require1(t, rec, want, conditions, func(p Published) (event envelopes.Custom, ok bool) {
		if p.Envelope.Kind() != envelopes.KindCustom || p.Envelope.EventType != eventType {
			return event, false
		}
		event = p.Envelope.Custom()
		event.Topic = p.Topic
		event.Key, _ = p.Key()
		return event, true
	})
}

// RequireNothing requires that nothing was published.
func RequireNothing(t testing.TB, rec *Recorder) {
	t.Helper()
	if events := rec.Events(); len(events) > 0 {
		t.Fatalf("bustest: nothing should have been published, but was:%s", list(events))
	}
}

// require1 returns the one event that match accepts and every condition holds for.
func require1[T any](t testing.TB, rec *Recorder, want string, conditions []func(T) bool, match func(Published) (T, bool)) (found T) {
	t.Helper()
	events := rec.Events()
	var candidates, hits int
	for _, published := range events {
		if published.Err != nil {
			continue
		}
		event, ok := match(published)
		if !ok {
			continue
		}
		candidates++
		if holds(event, conditions) {
			hits++
			found = event
		}
	}
	switch {
	case hits == 1:
		return found
	case hits > 1:
		t.Fatalf("bustest: exactly one %s was expected, but there are %d; published:%s", want, hits, list(events))
	case candidates > 0:
		t.Fatalf("bustest: one %s was expected that meets the conditions; of %d published, none does; published:%s",
			want, candidates, list(events))
	case len(events) == 0:
		t.Fatalf("bustest: one %s was expected, but nothing was published", want)
	default:
		t.Fatalf("bustest: one %s was expected, but there is none; published:%s", want, list(events))
	}
	return found
}

func holds[T any](event T, conditions []func(T) bool) bool {
	for _, condition := range conditions {
		if !condition(event) {
			return false
		}
	}
	return true
}

// list writes one line an event.
func list(events []Published) string {
	var lines strings.Builder
	for i, event := range events {
		fmt.Fprintf(&lines, "\n  %d. %s", i+1, event)
	}
	return lines.String()
}
