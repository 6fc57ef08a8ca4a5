package consumer

import "context"

// Outcome is how the handling of a message ended, as metrics and spans say it.
type Outcome string

const (
	// Handled: the handler returned nil.
	Handled Outcome = "handled"
	// Duplicate: an inbox had handled the event already, so the message was acked.
	Duplicate Outcome = "duplicate"
	// Ignored: no route wanted the event, which [SkipUnknown] takes for no fault; it was acked.
	Ignored Outcome = "ignored"
	// Dropped: the handling failed, and the error's policy gave the message up without a copy.
	Dropped Outcome = "dropped"
	// DeadLettered: the handling failed, and the dead-letter topic has a copy.
	DeadLettered Outcome = "dead_letter"
	// Kept: the message was nacked and comes again.
	Kept Outcome = "kept"
)

// outcomes are all of them, for series that are there from the start.
var outcomes = [...]Outcome{Handled, Duplicate, Ignored, Dropped, DeadLettered, Kept}

// Note says how the running attempt at the context's message ends, for who acks a message without
// handling it: an inbox that knows the event, say. Without a note, an acked message was [Handled] and a
// nacked one [Kept]. Outside a chain it does nothing.
func Note(ctx context.Context, outcome Outcome) {
	if record, ok := ctx.Value(attemptsKey{}).(*attempts); ok {
		record.note(outcome, nil)
	}
}

// note keeps how the running attempt ends, and the error that did not become the message's own.
func (a *attempts) note(outcome Outcome, cause error) {
	a.outcome, a.cause, a.noted = outcome, cause, a.number
}

// ended returns how the message ended, and why if it was not handled; err is what the chain returned.
func (a *attempts) ended(err error) (Outcome, error) {
	switch {
	case err != nil:
		return Kept, err
	case a.noted == a.number: // and not by an attempt that failed after that
		return a.outcome, a.cause
	default:
		return Handled, nil
	}
}
