package bustest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tailrace-go/tailrace/envelopes"
)

// Source is where events are looked for: a [Recorder], or what waits in an outbox, [OutboxOf].
type Source interface {
	// Events returns the events in the order in which they were published.
	Events() []Published
}

// Require requires that exactly one event like want was published (see [Like]) for which every condition
// holds, and returns it.
func Require[E envelopes.Event](t testing.TB, from Source, want E, conditions ...func(E) bool) E {
	t.Helper()
	found := one(t, from, Like(want).String(), func(p Published) []string {
		wrong := Like(want).judge(p)
		if wrong != nil {
			return wrong
		}
		event, _ := as(want, p)
		return unmet(p, event.(E), conditions)
	})
	event, _ := as(want, found)
	return event.(E)
}

// RequireOne requires that exactly one event was published as expected, and returns it.
func RequireOne(t testing.TB, from Source, want Expectation) Published {
	t.Helper()
	return one(t, from, want.String(), want.judge)
}

// RequireCount requires that exactly n events were published as expected, and returns them in order.
func RequireCount(t testing.TB, from Source, n int, want Expectation) []Published {
	t.Helper()
	var found []Published
	verdicts := judged(from.Events(), want.judge)
	for _, verdict := range verdicts {
		if verdict.wrong == nil {
			found = append(found, verdict.Published)
		}
	}
	if len(found) != n {
		t.Fatalf("bustest: %d of %s were expected, but there are %d%s", n, want, len(found), list(verdicts))
	}
	return found
}

// RequireInOrder requires that events were published as expected, in that order; there may be others
// before, between and behind them.
func RequireInOrder(t testing.TB, from Source, wants ...Expectation) {
	t.Helper()
	events := from.Events()
	next := 0
	for i, want := range wants {
		start := next
		for next < len(events) && want.judge(events[next]) != nil {
			next++
		}
		if next == len(events) {
			t.Fatalf("bustest: in order, number %d of %d expected (%s) is not among those from the %d. on%s",
				i+1, len(wants), want, start+1, list(judged(events, want.judge)))
		}
		next++
	}
}

// RequireExactly requires that those events were published, in that order, and no others.
func RequireExactly(t testing.TB, from Source, wants ...Expectation) {
	t.Helper()
	events := from.Events()
	verdicts := make([]verdict, len(events))
	for i, event := range events {
		verdicts[i] = verdict{Published: event, wrong: []string{"not expected"}}
		if i < len(wants) {
			if verdicts[i].wrong = wants[i].judge(event); verdicts[i].wrong != nil {
				verdicts[i].wrong = append([]string{"expected: " + wants[i].String()}, verdicts[i].wrong...)
			}
		}
	}
	for i, verdict := range verdicts {
		if verdict.wrong != nil {
			t.Fatalf("bustest: exactly %d events were expected, but number %d is another%s", len(wants), i+1, list(verdicts))
		}
	}
	if len(events) < len(wants) {
		t.Fatalf("bustest: exactly %d events were expected, but number %d (%s) is not there%s", len(wants), len(events)+1, wants[len(events)], list(verdicts))
	}
}

// RequireNone requires that nothing like it was published.
func RequireNone(t testing.TB, from Source, unwanted Expectation) {
	t.Helper()
	RequireCount(t, from, 0, unwanted)
}

// RequireNothing requires that nothing was published.
func RequireNothing(t testing.TB, from Source) {
	t.Helper()
	if events := from.Events(); len(events) > 0 {
		t.Fatalf("bustest: nothing should have been published%s", list(judged(events, func(Published) []string { return nil })))
	}
}

// verdict is an event and what is wrong with it.
type verdict struct {
	Published

	wrong []string
}

func judged(events []Published, judge func(Published) []string) []verdict {
	verdicts := make([]verdict, len(events))
	for i, event := range events {
		verdicts[i] = verdict{event, judge(event)}
	}
	return verdicts
}

// one returns the one event with which nothing is wrong.
func one(t testing.TB, from Source, want string, judge func(Published) []string) (found Published) {
	t.Helper()
	verdicts := judged(from.Events(), judge)
	hits := 0
	for _, verdict := range verdicts {
		if verdict.wrong == nil {
			hits++
			found = verdict.Published
		}
	}
	switch hits {
	case 0:
		t.Fatalf("bustest: one %s was expected, but there is none%s", want, list(verdicts))
	case 1:
	default:
		t.Fatalf("bustest: exactly one %s was expected, but there are %d%s", want, hits, list(verdicts))
	}
	return found
}

// unmet says which condition does not hold, with the event in full.
func unmet[T any](p Published, event T, conditions []func(T) bool) []string {
	for i, condition := range conditions {
		if !condition(event) {
			which := "the condition does not hold"
			if len(conditions) > 1 {
				which = fmt.Sprintf("condition %d of %d does not hold", i+1, len(conditions))
			}
			return []string{which + ": " + string(p.Message.Payload)}
		}
	}
	return nil
}

// list writes one line an event, and below it one line a difference.
func list(verdicts []verdict) string {
	if len(verdicts) == 0 {
		return "; nothing was published"
	}
	var lines strings.Builder
	lines.WriteString("; published:")
	for i, verdict := range verdicts {
		fmt.Fprintf(&lines, "\n  %d. %s", i+1, verdict.Published)
		for _, line := range verdict.wrong {
			fmt.Fprintf(&lines, "\n       %s", line)
		}
	}
	return lines.String()
}
